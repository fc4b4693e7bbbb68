"""The dataset card: what people read about a version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tasks.adapters.row_files import count_reasons, count_rows
from tasks.contracts import Row
from tasks.similarity.profile import Profile

_MAX_VALUES = 12


def card(rows: Sequence[Row], project: str, name: str, numbers: Profile, warnings: tuple[str, ...]) -> str:
    """Markdown; counts and labels only, no text of any row."""
    counts = count_rows(rows)
    splits = Counter(row.split for row in rows if row.split)
    parts = [
        f"# ds://{project}/{name}",
        f"{splits['train']} rows to train on, {splits['test']} held out. Of {counts.rows_in} rows that came in, "
        f"{counts.kept} were kept, {counts.merged} merged and {counts.quarantined} quarantined; personal data was "
        f"replaced in {counts.redacted}.",
        *(f"> {warning}" for warning in warnings),
        _table("Where the rows come from", ("source", "shape", "in", "kept"), _sources(rows)),
        _table("Why rows were merged or quarantined", ("reason", "rows"), list(count_reasons(rows).items())),
        _table("Personal data that was replaced", ("entity", "values"), _redactions(rows)),
        _table("Labels in the training answers", ("field", "value", "rows"), _labels(numbers)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(title: str, head: tuple[str, ...], lines: Sequence[tuple[object, ...]]) -> str:
    if not lines:
        return ""
    made = [f"## {title}\n", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*made, *("| " + " | ".join(_cell(c) for c in line) + " |" for line in lines)])


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _sources(rows: Sequence[Row]) -> list[tuple[object, ...]]:
    total: Counter[tuple[str, str]] = Counter((r.origin.source_uri, r.shape) for r in rows)
    kept: Counter[tuple[str, str]] = Counter((r.origin.source_uri, r.shape) for r in rows if r.outcome == "kept")
    return [(*source, count, kept[source]) for source, count in total.items()]


def _redactions(rows: Sequence[Row]) -> list[tuple[object, ...]]:
    found: Counter[str] = Counter()
    for row in rows:
        found.update(row.redactions)
    return sorted(found.items())


def _labels(numbers: Profile) -> list[tuple[object, ...]]:
    lines: list[tuple[object, ...]] = []
    for field, values in numbers.answers.items():
        ranked = sorted(values.items(), key=lambda item: (-item[1], item[0]))
        lines += [(field or "answer", value, count) for value, count in ranked[:_MAX_VALUES]]
        rest = ranked[_MAX_VALUES:]
        lines += [(field or "answer", f"{len(rest)} more", sum(n for _, n in rest))] if rest else []
    return lines
