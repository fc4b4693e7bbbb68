"""Before and after: rows that show a reader what training changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.adapters.json_lines import read_records
from tasks.contracts import Record
from tasks.evaluate.report import CANDIDATE, Metric, ScoredRow


class Example(Record):
    """One held-out row as the base and the tuned model answered it."""

    row_id: str
    prompt: str
    reference: str
    before: str
    after: str
    before_right: bool
    after_right: bool


def read_examples(answers_file: Path, metric: Metric, count: int = 4) -> tuple[Example, ...]:
    """Examples from a report's answers.jsonl; none if the file is not there."""
    if not answers_file.is_file():
        return ()
    return choose(read_records(answers_file, ScoredRow), metric, count)


def choose(scored: Sequence[ScoredRow], metric: Metric, count: int) -> tuple[Example, ...]:
    """The largest gain first, then the largest loss, then gains and losses in turn: a reader sees both sides."""
    by_gain = sorted(scored, key=lambda row: (-_gain(row, metric), row.row_id))
    turns = [by_gain[i // 2] if i % 2 == 0 else by_gain[-1 - i // 2] for i in range(min(count, len(by_gain)))]
    return tuple(_example(row, metric) for row in turns)


def _gain(row: ScoredRow, metric: Metric) -> float:
    return _score(row, CANDIDATE, metric) - _score(row, "base", metric)


def _score(row: ScoredRow, system: str, metric: Metric) -> float:
    return float(getattr(row.systems[system].score, metric))


def _example(row: ScoredRow, metric: Metric) -> Example:
    return Example(
        row_id=row.row_id,
        prompt="\n".join(m.content for m in row.prompt if m.role != "system"),
        reference=row.reference,
        before=row.systems["base"].answer,
        after=row.systems[CANDIDATE].answer,
        before_right=_score(row, "base", metric) == 1.0,
        after_right=_score(row, CANDIDATE, metric) == 1.0,
    )
