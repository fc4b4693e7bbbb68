"""The report as Markdown for the Prefect UI. Answers and prompts are hostile text: nothing in them is interpreted."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from tasks.contracts import Estimate, EvalReport, SystemScores
from tasks.evaluate.examples import Example

_LONGEST_CELL = 400
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~-])")


def report_markdown(report: EvalReport, examples: Sequence[Example]) -> str:
    """Systems × metrics with 95% intervals, paired differences, and a few rows before and after."""
    sampled = "" if report.rows == report.rows_available else f" (a seeded sample of {report.rows_available})"
    parts = [
        f"# Evaluation on {report.rows} held-out rows{sampled}",
        f"Metric of the gate: **{report.metric}**. {plain(report.metric_reason)}",
        _scores_table(report),
        "Shares in percent with 95% intervals. Perplexity is that of the reference answers, given the plain rows.",
        computed_in(report),
        *map(plain, report.notes),
        _differences_table(report),
    ]
    if examples:
        parts += ["## Before and after", _examples_table(examples)]
    return "\n\n".join(filter(None, parts)) + "\n"


def computed_in(report: EvalReport) -> str:
    """In which type the models were computed; said of each where they differ: rounding alone can change an answer."""
    types = {name: scores.computed_in for name, scores in report.systems.items() if scores.computed_in}
    kinds = sorted(set(types.values()))
    if len(kinds) > 1:
        return "Not all were computed in the same type: " + ", ".join(f"{n} in {t}" for n, t in types.items()) + "."
    return f"The models were computed in {kinds[0]}." if kinds else ""


def percent(estimate: Estimate, signed: bool = False) -> str:
    """`84.6 (77.5 to 89.7)`."""
    form = "+.1f" if signed else ".1f"
    return f"{100 * estimate.mean:{form}} ({100 * estimate.low:{form}} to {100 * estimate.high:{form}})"


def plain(text: str) -> str:
    """Text that shows as it is inside a Markdown table cell."""
    short = text if len(text) <= _LONGEST_CELL else text[: _LONGEST_CELL - 1] + "…"
    escaped = _MARKDOWN.sub(r"\\\1", html.escape(short, quote=False))
    return " <br> ".join(escaped.splitlines()) or " "


def _scores_table(report: EvalReport) -> str:
    header = "| system | exact match | field accuracy | token F1 | ROUGE-L | valid form | perplexity | retention |"
    rows = [_scores_row(name, scores) for name, scores in report.systems.items()]
    return "\n".join([header, "|---|---|---|---|---|---|---|---|", *rows])


def _scores_row(name: str, scores: SystemScores) -> str:
    perplexity = "" if scores.perplexity is None else f"{scores.perplexity:.2f}"
    retention = "" if scores.retention is None else f"{100 * scores.retention:.0f}"
    cells = (
        f"**{name}**",
        percent(scores.exact_match),
        percent(scores.field_accuracy),
        percent(scores.token_f1),
        percent(scores.rouge_l),
        f"{100 * scores.valid_format:.1f}",
        perplexity,
        retention,
    )
    return "| " + " | ".join(cells) + " |"


def _differences_table(report: EvalReport) -> str:
    rows = [f"| tuned − {name} | {percent(d, signed=True)} |" for name, d in report.differences.items()]
    header = f"| paired difference | {plain(report.metric)}, percentage points |"
    return "\n".join([header, "|---|---|", *rows])


def _examples_table(examples: Sequence[Example]) -> str:
    rows = [
        f"| {plain(e.prompt)} | {plain(e.reference)} | {_mark(e.before_right)} {plain(e.before)} "
        f"| {_mark(e.after_right)} {plain(e.after)} |"
        for e in examples
    ]
    return "\n".join(["| prompt | reference | base | tuned |", "|---|---|---|---|", *rows])


def _mark(right: bool) -> str:
    return "✓" if right else "✗"
