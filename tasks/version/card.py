"""The dataset card: what people read about a version. Markdown with an image; counts and labels, no text of any row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.similarity.profile import Profile
from tasks.version.distributions import Distributions
from tasks.version.picture import picture

CARD, IMAGE = "card.md", "card.png"
_MAX_LINES = 12
_MAX_SOURCES = 20


def write_card(
    folder: Path,
    address: str,
    numbers: Distributions,
    labels: Profile,
    warnings: Sequence[str] = (),
    parents: Mapping[str, str] | None = None,
) -> None:
    """Write `card.md` and `card.png` into a version's folder; the same numbers always give the same bytes.

    Args:
        address: `ds://project/name`, without a number: the number is given after the files are written.
        labels: profile of the training rows.
        parents: address of each version that this one was made from → what was taken from it, in words.
    """
    (folder / IMAGE).write_bytes(picture(numbers, labels))
    (folder / CARD).write_text(card(address, numbers, labels, warnings, parents or {}), encoding="utf-8")


def card(
    address: str, numbers: Distributions, labels: Profile, warnings: Sequence[str], parents: Mapping[str, str]
) -> str:
    """The Markdown text of a card."""
    parts = [
        f"# {address}",
        _summary(numbers),
        *(f"> **Warning:** {_cell(warning)}" for warning in warnings),
        f"![Lengths, quality and classes of the rows]({IMAGE})",
        _table("Made from", ("version", "what was taken"), list(parents.items())),
        _table("Where the rows come from", ("source", "shape", "in", "kept"), _sources(numbers)),
        _table("Lengths in words", ("", "smallest", "median", "95 %", "largest"), _lengths(numbers)),
        _table("Why rows were merged or quarantined", ("reason", "rows"), list(numbers.reasons.items())),
        _conflicts(numbers),
        _table("Personal data that was replaced", ("entity", "values"), list(numbers.redactions.items())),
        _table("Labels in the training answers", ("field", "value", "rows"), _labels(labels)),
        _table("Quality scores", ("score", "rows"), list(numbers.quality.items())),
        _table("Languages", ("language", "rows"), _most(numbers.languages)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _summary(numbers: Distributions) -> str:
    counts, splits = numbers.counts, numbers.splits
    return (
        f"{splits['train']} rows to train on, {splits['test']} held out. Of {counts.rows_in} rows that came in, "
        f"{counts.kept} were kept, {counts.merged} merged and {counts.quarantined} quarantined; personal data was "
        f"replaced in {counts.redacted}."
    )


def _conflicts(numbers: Distributions) -> str:
    if not numbers.conflicts:
        return ""
    return (
        "## The same question with different answers\n\n"
        f"{numbers.conflicts} rows were set aside: nobody can say which of their answers is right. "
        "`tuneloop data quarantine list` shows them."
    )


def _table(title: str, head: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    if not lines:
        return ""
    made = [f"## {title}\n", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*made, *("| " + " | ".join(_cell(c) for c in line) + " |" for line in lines)])


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _sources(numbers: Distributions) -> list[Sequence[object]]:
    shown, rest = numbers.sources[:_MAX_SOURCES], numbers.sources[_MAX_SOURCES:]
    lines: list[Sequence[object]] = [(s.uri, s.shape, s.rows_in, s.kept) for s in shown]
    if rest:
        lines.append((f"{len(rest)} more", "", sum(s.rows_in for s in rest), sum(s.kept for s in rest)))
    return lines


def _lengths(numbers: Distributions) -> list[Sequence[object]]:
    return [(side, n.smallest, n.median, n.p95, n.largest) for side, n in numbers.lengths.items()]


def _labels(labels: Profile) -> list[Sequence[object]]:
    return [
        (field or "answer", value, count) for field, values in labels.answers.items() for value, count in _most(values)
    ]


def _most(values: Mapping[str, int]) -> list[tuple[str, int]]:
    """The most frequent values, and the others as one line."""
    ranked = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    shown, rest = ranked[:_MAX_LINES], ranked[_MAX_LINES:]
    return shown + ([(f"{len(rest)} more", sum(n for _, n in rest))] if rest else [])
