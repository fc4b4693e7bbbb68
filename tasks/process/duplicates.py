"""Rows that say the same again, and rows that contradict each other. Pure: rows in, rows out, each with its reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tasks.adapters.row_files import merged, quarantined
from tasks.contracts import Row
from tasks.similarity.keys import answer_key, normalised, prompt_key, prompt_text
from tasks.similarity.near import near_pairs

Key = Callable[[Row], object]


def quarantine_contradictions(rows: Sequence[Row]) -> list[Row]:
    """Quarantine all rows of one prompt that have different answers, within the same declared split.

    Nobody can say which of them is right, so none is learned; across splits the leak check decides.
    """
    answers: dict[object, set[str]] = defaultdict(set)
    keys = {row.row_id: (row.declared_split, prompt_key(row.prompt)) for row in rows if row.outcome == "kept"}
    for row in rows:
        if row.outcome == "kept":
            answers[keys[row.row_id]].add(answer_key(row.answer))
    words = "the same prompt has different answers in the data ({} of them)"

    def judged(row: Row) -> Row:
        count = len(answers[keys[row.row_id]]) if row.outcome == "kept" else 1
        return quarantined(row, "contradicting_answers", words.format(count)) if count > 1 else row

    return [judged(row) for row in rows]


def merge_exact(rows: Sequence[Row]) -> list[Row]:
    """Merge rows whose normalised messages are equal into the first; a row of a test source is kept before others."""
    first: dict[object, Row] = {}
    for row in sorted((r for r in rows if r.outcome == "kept"), key=lambda r: r.declared_split != "test"):
        first.setdefault(_messages_key(row), row)
    return [_into(row, first[_messages_key(row)]) if row.outcome == "kept" else row for row in rows]


def _into(row: Row, winner: Row) -> Row:
    if row.row_id == winner.row_id:
        return row
    if winner.declared_split == "test" and row.declared_split != "test":
        return merged(row, winner, "leak", "equals a row of a source that is held out")
    return merged(row, winner, "exact_duplicate", "prompt and answer are the same as in an earlier row")


def _messages_key(row: Row) -> tuple[tuple[str, str], ...]:
    return tuple((m.role, normalised(m.content)) for m in row.messages)


@dataclass(frozen=True)
class _Scope:
    """Only rows of one scope are merged: same declared split, same answer, same system text."""

    declared: str | None
    answer: str
    system: str


def merge_near(rows: Sequence[Row], threshold: float, size: int) -> list[Row]:
    """Merge a row into the earliest kept row with the same answer whose prompt is nearly the same.

    Chains do not collapse: a row that resembles only a merged row stays.
    """
    kept = [row for row in rows if row.outcome == "kept"]
    scopes = [_scope(row) for row in kept]
    winners: dict[str, tuple[Row, float]] = {}
    for pair in sorted(
        near_pairs([prompt_text(r.prompt) for r in kept], threshold, size), key=lambda p: (p.right, p.left)
    ):
        early, late = kept[pair.left], kept[pair.right]
        free = early.row_id not in winners and late.row_id not in winners
        if free and scopes[pair.left] == scopes[pair.right]:
            winners[late.row_id] = early, pair.similarity

    def judged(row: Row) -> Row:
        if row.row_id not in winners:
            return row
        winner, similarity = winners[row.row_id]
        return merged(
            row, winner, "near_duplicate", f"same answer, prompt {similarity:.0%} the same as in an earlier row"
        )

    return [judged(row) for row in rows]


def _scope(row: Row) -> _Scope:
    system = "\n".join(normalised(m.content) for m in row.messages if m.role == "system")
    return _Scope(row.declared_split or "", answer_key(row.answer), system)
