"""What a recogniser found, and which of several overlapping findings stays."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

Finding = tuple[int, int, float]  # start, end and score inside the text that was looked at


class Span(NamedTuple):
    """One finding: text[start:end] is an `entity`; `score` is 0..1 as Presidio gives it."""

    start: int
    end: int
    entity: str
    score: float


def without_overlaps(spans: Sequence[Span], yielding: frozenset[str] = frozenset()) -> list[Span]:
    """Of overlapping findings the one with the higher score stays, at equal scores the longer one.

    Args:
        yielding: entities that yield to any other: those that are only reported must not hide one to be replaced.
    """
    if len(spans) < 2:
        return list(spans)
    kept: list[Span] = []
    starts: list[int] = []
    for span in sorted(spans, key=lambda s: (s.entity in yielding, -s.score, s.start - s.end, s.start, s.entity)):
        place = bisect_left(starts, span.start)
        if place and kept[place - 1].end > span.start:
            continue
        if place < len(kept) and kept[place].start < span.end:
            continue
        kept.insert(place, span)
        starts.insert(place, span.start)
    return kept
