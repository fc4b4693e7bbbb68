"""The stage as a whole: row rules, quarantine of what breaks them, dataset rules, report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.adapters.row_files import Privacy, count_rows, quarantined, read_output, write_output
from tasks.adapters.store import Store, stage_key
from tasks.contracts import Record, Row, Rows, ValidatedRows
from tasks.digest import digest_folder
from tasks.errors import DataRefused, EnvironmentUnusable
from tasks.validate.config import ChecksConfig
from tasks.validate.expectations import Expectations, RuleResult, project_folder
from tasks.validate.frames import Columns, CountTokens, row_columns, totals_columns
from tasks.validate.rules import Rule, Suite, Values, broken_rows, read_suite

REVISION = 1
DOCS = "data_docs"


class Verdict(Record):
    """What the stage stores: a refusal is stored too, so that an identical run repeats it without computing."""

    validated: ValidatedRows
    refusals: tuple[str, ...]


def validate_rows(
    rows: Rows, checks: ChecksConfig, tokenizer_digest: str, count_tokens: CountTokens, store: Store
) -> ValidatedRows:
    """Rows after the rules.

    Raises:
        DataRefused: a rule about the whole dataset is broken; the report is in the store.
        EnvironmentUnusable: Great Expectations and our own evaluation do not agree.
    """
    verdict = judge_rows(rows, checks, tokenizer_digest, count_tokens, store)
    if verdict.refusals:
        raise DataRefused(
            "the data breaks rules that every dataset must keep",
            where=f"{rows.counts.rows_in} rows in",
            why="; ".join(verdict.refusals),
            remedy=f"see {store.path(verdict.validated.report_uri) / 'index.html'}; repair the data or change checks",
        )
    return verdict.validated


def judge_rows(
    rows: Rows, checks: ChecksConfig, tokenizer_digest: str, count_tokens: CountTokens, store: Store
) -> Verdict:
    """The verdict, computed unless it is stored."""
    key = stage_key(REVISION, rows.digest, checks, tokenizer_digest, digest_folder(project_folder()))

    def make(folder: Path) -> Verdict:
        read, privacy = read_output(store.path(rows.uri))
        return _judge(read, privacy, checks, count_tokens, folder, store.uri("validate", key))

    return store.produce("validate", key, Verdict, make)


def _judge(
    rows: Sequence[Row], privacy: Privacy, checks: ChecksConfig, count_tokens: CountTokens, folder: Path, uri: str
) -> Verdict:
    suites = {n: read_suite(project_folder() / "expectations" / f"{n}.json") for n in _SUITES}
    values = {k: float(v) for k, v in checks.model_dump().items()}
    expectations = Expectations(folder / "gx")
    columns = row_columns([r for r in rows if r.outcome == "kept"], count_tokens)
    judged = _quarantine(rows, suites["row_rules"], columns, values, expectations)
    refusals = _refusals(judged, columns, suites, values, expectations)
    expectations.write_docs(folder / DOCS)
    validated = ValidatedRows(
        rows=write_output(folder, uri, judged, privacy),
        rules=sum(len(suite.rules) for suite in suites.values()),
        warnings=_warnings(judged, checks),
        report_uri=f"{uri}/{DOCS}",
    )
    return Verdict(validated=validated, refusals=refusals)


_SUITES = ("row_rules", "dataset_rules", "totals_rules")


def _quarantine(
    rows: Sequence[Row], suite: Suite, columns: Columns, values: Values, expectations: Expectations
) -> list[Row]:
    """Quarantine rows that break a row rule; the first rule in the suite's order is the reason."""
    parameters = suite.parameters(values)
    masks = [broken_rows(rule, columns, parameters) for rule in suite.rules]
    results = expectations.run(suite, "kept", columns, parameters)
    compare_counts(suite, masks, results)
    reasons: dict[str, str] = {}
    for rule, mask in zip(suite.rules, masks, strict=True):
        for position, broken in enumerate(mask):
            if broken:
                reasons.setdefault(columns["row_id"][position], _words(rule, columns, position, parameters))
    codes = {row_id: words.split(":", 1) for row_id, words in reasons.items()}
    return [quarantined(r, *codes[r.row_id]) if r.row_id in codes and r.outcome == "kept" else r for r in rows]


def compare_counts(suite: Suite, masks: Sequence[Sequence[bool]], results: Sequence[RuleResult]) -> None:
    """Refuse to go on where the two evaluations differ: one of them looked at something else.

    Raises:
        EnvironmentUnusable: the counts differ.
    """
    for rule, mask, result in zip(suite.rules, masks, results, strict=True):
        if sum(mask) != result.unexpected:
            raise EnvironmentUnusable(
                "two evaluations of one rule do not agree",
                where=f"{suite.name}: {rule.code}",
                why=f"Great Expectations counts {result.unexpected} rows that break it, Tuneloop {sum(mask)}",
                remedy="compare the installed version with constraints.txt, and report this",
            )


def _words(rule: Rule, columns: Columns, position: int, parameters: Values) -> str:
    limits = [f"{v['$PARAMETER']} {parameters[v['$PARAMETER']]:g}" for v in rule.kwargs.values() if isinstance(v, dict)]
    value = columns[rule.kwargs["column"]][position]
    seen = f" (it has {value}, {', '.join(limits)})" if limits else ""
    return f"{rule.code}:{rule.text}{seen}"


def _refusals(
    rows: Sequence[Row], columns: Columns, suites: dict[str, Suite], values: Values, expectations: Expectations
) -> tuple[str, ...]:
    kept = {row.row_id for row in rows if row.outcome == "kept"}
    if not kept:
        return ("no row is left after quarantine",)
    left = [i for i, row_id in enumerate(columns["row_id"]) if row_id in kept]
    frames = {
        "dataset_rules": ("kept", {name: [column[i] for i in left] for name, column in columns.items()}),
        "totals_rules": ("totals", totals_columns(count_rows(rows))),
    }
    refusals = []
    for name, (asset, frame) in frames.items():
        parameters = suites[name].parameters(values)
        results = expectations.run(suites[name], asset, frame, parameters)
        broken = [(rule, r) for rule, r in zip(suites[name].rules, results, strict=True) if not r.passed]
        refusals += [_refusal(rule, result, frame, parameters) for rule, result in broken]
    return tuple(refusals)


def _refusal(rule: Rule, result: RuleResult, frame: Columns, parameters: Values) -> str:
    limits = [
        f"{v['$PARAMETER']} is {parameters[v['$PARAMETER']]:g}" for v in rule.kwargs.values() if isinstance(v, dict)
    ]
    column = frame.get(rule.kwargs.get("column", ""), [])
    observed = result.observed or (f"{column[0]:.3g}" if len(column) == 1 else f"{result.unexpected} rows break it")
    return f"{rule.text}: {', '.join([*limits, f'observed {observed}'])}"


def _warnings(rows: Sequence[Row], checks: ChecksConfig) -> tuple[str, ...]:
    kept = count_rows(rows).kept
    if kept < checks.warn_rows:
        return (f"only {kept} rows are kept; with fewer than {checks.warn_rows} little can be learned or proven",)
    return ()
