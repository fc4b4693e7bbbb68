"""The rules applied to the numbers: which rows break which rule, and whether the dataset as a whole is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tasks.contracts import Rows
from tasks.errors import EnvironmentUnusable
from tasks.validate.expectations import Expectations, RuleResult
from tasks.validate.measures import FAMILIES
from tasks.validate.report import RuleReport
from tasks.validate.rules import Columns, Rule, Suite, Values, broken_rows
from tasks.validate.shards import Breach, Measured
from tasks.validate.totals import totals_columns

ROW_SUITES = {"row_rules": "rows", **{f"{family}_rules": family for family in FAMILIES}}  # suite → asset
DATASET_SUITES = {"dataset_rules": "kept", "totals_rules": "totals"}


@dataclass(frozen=True)
class RowVerdicts:
    """What the row rules found; positions count kept rows over all shards."""

    numbers: Any
    breaches: dict[int, Breach]
    reports: tuple[RuleReport, ...]
    warnings: tuple[str, ...]

    @property
    def kept(self) -> Any:
        """Numbers of the rows that stay."""
        stays = np.ones(len(self.numbers), dtype=bool)
        stays[list(self.breaches)] = False
        return self.numbers[stays]

    def between(self, start: int, end: int) -> dict[int, Breach]:
        """Breaches of a part of the rows, counted from its first row."""
        return {position - start: b for position, b in self.breaches.items() if start <= position < end}


@dataclass(frozen=True)
class DatasetVerdict:
    """What the rules about the whole dataset found."""

    reports: tuple[RuleReport, ...]
    refusals: tuple[str, ...]
    warnings: tuple[str, ...] = field(default=())


def judge_row_rules(
    measured: Sequence[Measured], suites: Mapping[str, Suite], values: Values, expectations: Expectations
) -> RowVerdicts:
    """Every row rule on the rows of its shape; the first critical rule in the order of the suites is the reason.

    Raises:
        EnvironmentUnusable: Great Expectations and our own evaluation do not agree.
    """
    numbers = np.concatenate([m.numbers for m in measured])
    accepted = _accepted(measured)
    breaches: dict[int, Breach] = {}
    reports, warnings = [], []
    for suite, places in _applying(suites, numbers):
        parameters = suite.parameters(values)
        columns = {name: numbers[name][places] for name in suite.columns}
        masks = [broken_rows(rule, columns, parameters) for rule in suite.rules]
        compare_counts(suite, masks, expectations.run(suite, ROW_SUITES[suite.name], columns, parameters))
        for rule, mask in zip(suite.rules, masks, strict=True):
            broken = np.flatnonzero(mask)
            reports.append(_report(suite, rule, parameters, len(places), len(broken)))
            if rule.severity == "warning" and len(broken):
                warnings.append(f"{rule.code}: {len(broken)} of {len(places)} rows break the rule: {rule.text}")
            if rule.severity == "critical":
                for index in broken.tolist():
                    position = int(places[index])
                    if rule.code not in accepted.get(position, ()):
                        breaches.setdefault(position, _breach(rule, columns, index, parameters))
    return RowVerdicts(numbers, breaches, tuple(reports), tuple(warnings))


def _applying(suites: Mapping[str, Suite], numbers: Any) -> Iterator[tuple[Suite, Any]]:
    """Row suites with the positions of the rows they are about; a suite without rows is left out."""
    for name, asset in ROW_SUITES.items():
        chosen = numbers["family"] == FAMILIES.index(asset) if asset in FAMILIES else np.ones(len(numbers), dtype=bool)  # type: ignore[arg-type]
        if chosen.any():
            yield suites[name], np.flatnonzero(chosen)


def _accepted(measured: Sequence[Measured]) -> dict[int, tuple[str, ...]]:
    found: dict[int, tuple[str, ...]] = {}
    start = 0
    for one in measured:
        found |= {start + position: codes for position, codes in one.accepted.items()}
        start += len(one.numbers)
    return found


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


def _breach(rule: Rule, columns: Columns, index: int, parameters: Values) -> Breach:
    value = columns[rule.columns[0]][index].item()
    limits = [f"{name} {limit:g}" for name, limit in rule.limits(parameters).items()]
    seen = f" (it has {value:.4g}, {', '.join(limits)})" if limits else ""
    return Breach(rule.code, f"{rule.text}{seen}", rule.repair)


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
