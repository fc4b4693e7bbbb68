"""The rules applied to the numbers: which rows break which rule, and whether the dataset as a whole is refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from tasks.contracts import Rows
from tasks.errors import EnvironmentUnusable
from tasks.validate.expectations import Expectations, RuleResult
from tasks.validate.measures import FAMILIES, MEASURES, Family
from tasks.validate.report import RuleReport
from tasks.validate.rules import Columns, Rule, Suite, Values, broken_rows
from tasks.validate.shards import Breach, Measured
from tasks.validate.totals import totals_columns

ROW_SUITES = {"row_rules": "rows", **{f"{family}_rules": family for family in FAMILIES}}  # suite → asset
DATASET_SUITES = {"dataset_rules": "kept", "totals_rules": "totals"}


@dataclass(frozen=True)
class Measures:
    """The numbers of all kept rows, in order.

    Args:
        ends: position after the last row of each shard, from 0 on.
        accepted: position → codes of rules that the row need not keep.
    """

    numbers: Any
    ends: list[int]
    accepted: dict[int, tuple[str, ...]]


def gather(measured: Iterable[Measured]) -> Measures:
    """The numbers of the shards, put together."""
    parts, ends = [np.zeros(0, MEASURES)], [0]
    accepted: dict[int, tuple[str, ...]] = {}
    for one in measured:
        accepted |= {ends[-1] + position: codes for position, codes in one.accepted.items()}
        parts.append(one.numbers)
        ends.append(ends[-1] + len(one.numbers))
    return Measures(np.concatenate(parts), ends, accepted)


@dataclass(frozen=True)
class RowVerdicts:
    """What the row rules found.

    Args:
        reasons: for each row the index in `applied` of the rule it is quarantined for; -1 where it stays.
        applied: critical rules with their parameters.
    """

    measures: Measures
    reasons: Any
    applied: tuple[tuple[Rule, dict[str, float]], ...]
    reports: tuple[RuleReport, ...]
    warnings: tuple[str, ...]

    @property
    def kept(self) -> Any:
        """Numbers of the rows that stay."""
        return self.measures.numbers[self.reasons < 0]

    def between(self, start: int, end: int) -> dict[int, Breach]:
        """Breaches of a part of the rows, counted from its first row."""
        broken = np.flatnonzero(self.reasons[start:end] >= 0).tolist()
        return {position: self._breach(start + position) for position in broken}

    def _breach(self, position: int) -> Breach:
        rule, parameters = self.applied[self.reasons[position]]
        value = self.measures.numbers[rule.columns[0]][position].item()
        limits = [f"{name} {limit:g}" for name, limit in rule.limits(parameters).items()]
        seen = f" (it has {value:.4g}, {', '.join(limits)})" if limits else ""
        return Breach(rule.code, f"{rule.text}{seen}", rule.repair)


@dataclass(frozen=True)
class DatasetVerdict:
    """What the rules about the whole dataset found."""

    reports: tuple[RuleReport, ...]
    refusals: tuple[str, ...]
    warnings: tuple[str, ...] = field(default=())


def judge_row_rules(
    measures: Measures, suites: Mapping[str, Suite], values: Values, expectations: Expectations
) -> RowVerdicts:
    """Every row rule on the rows of its shape; the first critical rule in the order of the suites is the reason.

    Raises:
        EnvironmentUnusable: Great Expectations and our own evaluation do not agree.
    """
    reasons = np.full(len(measures.numbers), -1, dtype=np.int16)
    applied: list[tuple[Rule, dict[str, float]]] = []
    reports: list[RuleReport] = []
    for suite, places in _applying(suites, measures.numbers):
        parameters = suite.parameters(values)
        columns = {name: measures.numbers[name][places] for name in suite.columns}
        masks = [broken_rows(rule, columns, parameters) for rule in suite.rules]
        compare_counts(suite, masks, expectations.run(suite, ROW_SUITES[suite.name], columns, parameters))
        for rule, mask in zip(suite.rules, masks, strict=True):
            reports.append(_report(suite, rule, parameters, len(places), int(np.sum(mask))))
            if rule.severity == "critical":
                _give_reason(reasons, _not_accepted(places[mask], rule, measures.accepted), len(applied))
                applied.append((rule, parameters))
    return RowVerdicts(measures, reasons, tuple(applied), tuple(reports), tuple(_row_warnings(reports)))


def _give_reason(reasons: Any, broken: Any, index: int) -> None:
    first = broken[reasons[broken] < 0]
    reasons[first] = index


def _not_accepted(broken: Any, rule: Rule, accepted: Mapping[int, tuple[str, ...]]) -> Any:
    taken = [position for position, codes in accepted.items() if rule.code in codes]
    return broken[~np.isin(broken, taken)] if taken else broken


def _row_warnings(reports: Sequence[RuleReport]) -> Iterator[str]:
    for r in reports:
        if r.severity == "warning" and not r.passed:
            yield f"{r.code}: {r.broken} of {r.judged} rows break the rule: {r.text}"


def _applying(suites: Mapping[str, Suite], numbers: Any) -> Iterator[tuple[Suite, Any]]:
    """Row suites with the positions of the rows they are about; a suite without rows is left out."""
    for name, asset in ROW_SUITES.items():
        if name == "row_rules":
            places = np.arange(len(numbers))
        else:
            places = np.flatnonzero(numbers["family"] == FAMILIES.index(cast(Family, asset)))
        if len(places):
            yield suites[name], places


def compare_counts(suite: Suite, masks: Sequence[Any], results: Sequence[RuleResult]) -> None:
    """Refuse to go on where the two evaluations differ: one of them looked at something else.

    Raises:
        EnvironmentUnusable: the counts differ.
    """
    for rule, mask, result in zip(suite.rules, masks, results, strict=True):
        if int(np.sum(mask)) != result.unexpected:
            raise EnvironmentUnusable(
                "two evaluations of one rule do not agree",
                where=f"{suite.name}: {rule.code}",
                why=f"Great Expectations counts {result.unexpected} rows that break it, Tuneloop {int(np.sum(mask))}",
                remedy="compare the installed version with constraints.txt, and report this",
            )


def _report(suite: Suite, rule: Rule, parameters: Values, judged: int, broken: int, observed: str = "") -> RuleReport:
    return RuleReport(
        suite=suite.name, code=rule.code, text=rule.text, severity=rule.severity, limits=rule.limits(parameters),
        judged=judged, broken=broken, observed=observed,
    )  # fmt: skip


def judge_dataset(
    rows: Rows, kept: Any, suites: Mapping[str, Suite], values: Values, expectations: Expectations
) -> DatasetVerdict:
    """The rules about all kept rows and about the totals.

    Args:
        kept: numbers of the rows that stay.
    """
    if not len(kept):
        return DatasetVerdict((), ("no row is left after quarantine",))
    frames: dict[str, Columns] = {
        "dataset_rules": {name: kept[name] for name in suites["dataset_rules"].columns},
        "totals_rules": totals_columns(rows.counts, rows.reasons, kept),
    }
    reports: list[RuleReport] = []
    for name, asset in DATASET_SUITES.items():
        suite, parameters = suites[name], suites[name].parameters(values)
        judged = len(kept) if asset == "kept" else 1
        for rule, result in zip(suite.rules, expectations.run(suite, asset, frames[name], parameters), strict=True):
            observed = _observed(rule, result, frames[name])
            reports.append(_report(suite, rule, parameters, judged, int(not result.passed), observed))
    broken = [(r.severity, _words(r)) for r in reports if not r.passed]
    return DatasetVerdict(
        tuple(reports),
        tuple(words for severity, words in broken if severity == "critical"),
        tuple(words for severity, words in broken if severity == "warning"),
    )


def _observed(rule: Rule, result: RuleResult, frame: Columns) -> str:
    if result.observed:
        return result.observed
    if rule.columns and len(frame[rule.columns[0]]) == 1:
        return ", ".join(f"{frame[name][0].item():.6g}" for name in rule.columns)
    return f"{result.unexpected} rows break it" if result.unexpected else ""


def _words(report: RuleReport) -> str:
    limits = [f"{name} is {value:g}" for name, value in report.limits.items()]
    return f"{report.text}: {', '.join([*limits, f'observed {report.observed}'])}"
