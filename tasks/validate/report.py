"""The first page of the Data Docs: what every rule found, in one place, readable without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from tasks.contracts import Record, RowCounts
from tasks.validate.rules import Severity

_QUANTILES = {"smallest": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "largest": 1.0}
_SPREADS = {
    "tokens": "tokens",
    "answer_chars": "characters of the answer",
    "repeated_share": "repeated word triples",
    "distinct_words_share": "different words in the answer",
    "toxicity": "obscene words",
    "quality": "quality score",
}
_SCORE_BANDS = (0, 20, 40, 60, 80, 101)


class RuleReport(Record):
    """What became of one rule."""

    suite: str
    code: str
    text: str
    severity: Severity
    limits: dict[str, float]
    judged: int = Field(description="Rows that the rule looked at; 1 for totals.")
    broken: int = Field(description="Rows that break it; 0 or 1 for rules about the whole dataset.")
    observed: str = ""

    @property
    def passed(self) -> bool:
        return self.broken == 0


class Report(Record):
    """All that the page shows."""

    rules: tuple[RuleReport, ...]
    counts: RowCounts
    reasons: dict[str, int]
    refusals: tuple[str, ...]
    warnings: tuple[str, ...]
    languages: dict[str, float] = Field(description="Shares of the rows whose language was looked at.")
    toxicity_measured: bool
    decisions: int = Field(description="Rows that people accepted or repaired.")
    pages: dict[str, str] = Field(description="Suite → page of Great Expectations.")


def write_page(report: Report, numbers: Any, path: Path) -> None:
    """Write the page.

    Args:
        numbers: lines of `tasks.validate.measures.MEASURES` of all rows that were judged.
    """
    parts = [
        _head(report),
        *(_suite(name, [r for r in report.rules if r.suite == name], report.pages) for name in _suites(report)),
        _table("Why rows are merged or in quarantine", ("reason", "rows"), list(report.reasons.items())),
        _spreads(numbers, report),
        _scores(numbers["quality"]),
        _languages(report.languages),
    ]
    style = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    page = "<!doctype html><html lang=en><head><meta charset=utf-8><title>Data quality</title>"
    page += f"<style>{style}</style></head>"
    path.write_text(f"{page}<body><main>{''.join(parts)}</main></body></html>", encoding="utf-8")


def _suites(report: Report) -> list[str]:
    return list(dict.fromkeys(rule.suite for rule in report.rules))


def _head(report: Report) -> str:
    broken = [r for r in report.rules if not r.passed]
    critical = sum(r.severity == "critical" for r in broken)
    state = "<b class=bad>refused</b>" if report.refusals else "<b class=good>accepted</b>"
    facts = {"rows in": report.counts.rows_in, "kept": report.counts.kept, "merged": report.counts.merged,
             "in quarantine": report.counts.quarantined, "rules": len(report.rules), "critical broken": critical,
             "warnings": len(broken) - critical, "decided by people": report.decisions}  # fmt: skip
    boxes = "".join(f"<div><b>{value:,}</b>{name}</div>" for name, value in facts.items())
    said = "".join(f"<p class=bad>{escape(text)}</p>" for text in report.refusals)
    said += "".join(f"<p class=warn>{escape(text)}</p>" for text in report.warnings)
    return f"<h1>Data quality</h1><p>The dataset is {state}.</p><section><div class=facts>{boxes}</div>{said}</section>"


def _suite(name: str, rules: Sequence[RuleReport], pages: Mapping[str, str]) -> str:
    lines = "".join(map(_rule, rules))
    link = f' <a href="{escape(pages[name])}">as Great Expectations shows it</a>' if name in pages else ""
    head = "<tr><th>rule<th>in words<th>severity<th class=n>judged<th class=n>broken<th></tr>"
    title = escape(name.replace("_", " ").capitalize())
    note = f"<span class=dim>{len(rules)} rules.{link}</span>"
    return f"<section><h2>{title}</h2>{note}<table>{head}{lines}</table></section>"


def _rule(rule: RuleReport) -> str:
    limits = ", ".join(f"{name} {value:g}" for name, value in rule.limits.items())
    seen = f"observed {rule.observed}" if rule.observed else ""
    note = "; ".join(text for text in (limits, seen) if text)
    bad = "bad" if rule.severity == "critical" else "warn"
    state = "<td class='s good'>✓ passed" if rule.passed else f"<td class='s {bad}'>✗ broken"
    words = escape(rule.text) + (f" <span class=dim>({escape(note)})</span>" if note else "")
    return (f"<tr><td><code>{escape(rule.code)}</code><td>{words}<td>{rule.severity}<td class=n>{rule.judged:,}"
            f"<td class=n>{rule.broken:,}{state}</tr>")  # fmt: skip


def _table(title: str, head: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    if not lines:
        return ""
    top = "".join(f"<th{' class=n' if i else ''}>{escape(name)}" for i, name in enumerate(head))
    body = "".join(
        "<tr>" + "".join(f"<td{' class=n' if i else ''}>{escape(str(c))}" for i, c in enumerate(line)) + "</tr>"
        for line in lines
    )
    return f"<section><h2>{escape(title)}</h2><table><tr>{top}</tr>{body}</table></section>"


def _spreads(numbers: Any, report: Report) -> str:
    if not len(numbers):
        return ""
    lines: list[list[object]] = []
    for column, words in _SPREADS.items():
        if column == "toxicity" and not report.toxicity_measured:
            lines.append([words, *["not measured"] * len(_QUANTILES)])
            continue
        values = np.quantile(numbers[column], list(_QUANTILES.values()), method="nearest")
        lines.append([words, *(f"{v:.2f}" if numbers.dtype[column].kind == "f" else f"{int(v):,}" for v in values)])
    return _table("What was measured, of all rows that were judged", ("", *_QUANTILES), lines)


def _scores(quality: Any) -> str:
    sizes, _ = np.histogram(quality, _SCORE_BANDS)
    largest = max(1, int(sizes.max())) if len(quality) else 1
    lines = "".join(
        f"<tr><td>{low} to {min(100, high - 1)}"
        f"<td><span class=bar><i style='width:{100 * n / largest:.0f}%'></i></span>"
        f"<td class=n>{n:,}</tr>"
        for low, high, n in zip(_SCORE_BANDS, _SCORE_BANDS[1:], sizes.tolist(), strict=False)
    )
    return f"<section><h2>Quality scores</h2><table><tr><th>score<th><th class=n>rows</tr>{lines}</table></section>"


def _languages(shares: Mapping[str, float]) -> str:
    lines = [("too short to tell" if code == "und" else code, f"{share:.1%}") for code, share in shares.items()]
    return _table("Languages", ("language", "share of the rows looked at"), lines)
