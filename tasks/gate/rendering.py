"""The verdict as Markdown for the Prefect UI."""

from __future__ import annotations

from tasks.contracts import GateDecision


def decision_markdown(decision: GateDecision) -> str:
    """The verdict and a table with one row per rule."""
    refused = len(decision.refusals)
    verdict = "passed" if decision.passed else f"refused ({refused} of {len(decision.reasons)} rules)"
    rows = [f"| {'✓' if r.passed else '✗'} | {r.rule} | {_cell(r.text)} |" for r in decision.reasons]
    refusals = [*(f"- {_cell(text)}" for text in decision.refusals), ""] if decision.refusals else []
    return "\n".join([f"# Gate: {verdict}", "", *refusals, "| | rule | what was seen |", "|---|---|---|", *rows, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
