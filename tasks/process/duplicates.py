"""Rows that say the same again, and rows that contradict each other: decided on the index, without a text in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.adapters.row_files import merged, quarantined
from tasks.contracts import Row
from tasks.process.compare import Compared
from tasks.process.features import TEST, UNDECLARED, Index, row_id
from tasks.similarity.lsh import NONE

NOTHING, CONTRADICTION, EXACT, LEAK, NEAR = range(5)
Numbers = NDArray[np.int64]


class Verdicts(NamedTuple):
    """What becomes of each row.

    `into` is the number of the row that a merged one yields to; `amount` the number of different answers of a
    contradiction, or the similarity of a near duplicate.
    """

    code: NDArray[np.uint8]
    into: Numbers
    amount: NDArray[np.float32]

    @classmethod
    def none(cls, rows: int) -> Verdicts:
        return cls(np.zeros(rows, np.uint8), np.full(rows, -1, np.int64), np.zeros(rows, np.float32))


class Verdict(NamedTuple):
    """What becomes of one row, with the id of the row it yields to."""

    code: int
    into: str
    amount: float


class Conflict(NamedTuple):
    """Two kept rows whose prompts are nearly the same and whose answers are not."""

    left: int
    right: int
    similarity: float


@dataclass
class Standing:
    """Index and verdicts while the decisions are taken, one after the other."""

    index: Index
    verdicts: Verdicts

    def kept(self) -> NDArray[np.bool_]:
        return np.asarray(self.index.keys["kept"] & (self.verdicts.code == NOTHING))


def quarantine_contradictions(standing: Standing) -> None:
    """Judge all rows of one question that have different answers, those that are held out apart from the others.

    Nobody can say which of them is right, so none is learned; between those two the leak check decides.
    """
    keys = standing.index.keys
    rows = np.flatnonzero(standing.kept() & keys["asks"])
    answer, question, test = keys["answer"][rows], keys["question"][rows], keys["split"][rows] == TEST
    order = np.lexsort((answer, question[:, 0], question[:, 1], test))
    rows, answer, question, test = rows[order], answer[order], question[order], test[order]
    first = _changes(question[:, 0], question[:, 1], test)
    group = np.cumsum(first) - 1
    answers = np.bincount(group, weights=first | _changes(answer)) if len(rows) else np.zeros(0)
    bad = answers[group] > 1
    standing.verdicts.code[rows[bad]] = CONTRADICTION
    standing.verdicts.amount[rows[bad]] = answers[group][bad]


def merge_exact(standing: Standing) -> None:
    """Merge rows whose normalised messages are equal into the first one with the strongest declaration.

    A row of a test source is kept before all others, one of a training source before those whose split is to be drawn.
    """
    keys, verdicts = standing.index.keys, standing.verdicts
    rows = np.flatnonzero(standing.kept())
    messages, split = keys["messages"][rows], keys["split"][rows]
    order = np.lexsort((TEST - split, messages[:, 0], messages[:, 1]))  # stable: canonical order among equals
    rows, messages, test = rows[order], messages[order], split[order] == TEST
    first = _changes(messages[:, 0], messages[:, 1])
    group = np.cumsum(first) - 1
    winner, held = rows[first][group], test[first][group]
    verdicts.code[rows[~first]] = np.where(held & ~test, LEAK, EXACT)[~first]
    verdicts.into[rows[~first]] = winner[~first]


def near_candidates(standing: Standing) -> None:
    """Leave only the rows that are still kept to the search for near duplicates."""
    standing.index.bands[:, ~standing.kept()] = NONE


def merge_near(standing: Standing, compared: Iterable[Compared]) -> list[Conflict]:
    """Merge a row into the earliest kept row with the same answer whose prompt is nearly the same.

    Rows of training sources count as earlier than those whose split is still to be drawn: what is declared is kept.
    Chains do not collapse: a row that resembles only a merged row stays.

    Returns:
        Pairs that stay although their prompts are nearly the same, since their answers differ.
    """
    parts = [part for part in compared if len(part.pairs)]
    if not parts:
        return []
    pairs, similarity, agree = (np.concatenate([part[column] for part in parts]) for column in range(3))
    pairs = _declared_first(pairs, standing.index.keys)
    drawn = standing.index.keys["split"][pairs] == UNDECLARED
    order = np.lexsort((pairs[:, 0], drawn[:, 0], pairs[:, 1], drawn[:, 1]))
    pairs, similarity, agree = pairs[order], similarity[order], agree[order]
    same = _once(pairs) & agree
    code, into, amount = standing.verdicts
    for (left, right), value in zip(pairs[same].tolist(), similarity[same].tolist(), strict=True):
        if code[left] == NOTHING and code[right] == NOTHING:
            code[right], into[right], amount[right] = NEAR, left, value
    apart = _once(pairs) & ~agree & (code[pairs[:, 0]] == NOTHING) & (code[pairs[:, 1]] == NOTHING)
    conflicts = zip(np.sort(pairs[apart]).tolist(), similarity[apart].tolist(), strict=True)
    return sorted(Conflict(a, b, s) for (a, b), s in conflicts)


def _declared_first(pairs: Numbers, keys: NDArray[Any]) -> Numbers:
    """Pairs in which the second row yields: the later one, or the one that nothing is declared of."""
    drawn = keys["split"][pairs] == UNDECLARED
    return np.where((drawn[:, 0] & ~drawn[:, 1])[:, None], pairs[:, ::-1], pairs)


def of_rows(standing: Standing, start: int, end: int) -> dict[int, Verdict]:
    """Position within the shard → verdict, for the rows start..end of the index that have one."""
    code, into, amount = standing.verdicts
    found = np.flatnonzero(code[start:end])
    return {
        int(k): Verdict(int(code[start + k]), _id(standing, int(into[start + k])), float(amount[start + k]))
        for k in found
    }


def _id(standing: Standing, row: int) -> str:
    return row_id(standing.index.keys, row) if row >= 0 else ""


def judged(row: Row, verdict: Verdict) -> Row:
    """The row with its outcome and the reason in words."""
    if verdict.code == CONTRADICTION:
        words = f"the same prompt has different answers in the data ({verdict.amount:.0f} of them)"
        return quarantined(row, "contradicting_answers", words, "decide which answer is right and remove the others")
    if verdict.code == EXACT:
        return merged(row, verdict.into, "exact_duplicate", "prompt and answer are the same as in an earlier row")
    if verdict.code == LEAK:
        return merged(row, verdict.into, "leak", "equals a row of a source that is held out")
    words = f"same answer, prompt {verdict.amount:.0%} the same as in an earlier row"
    return merged(row, verdict.into, "near_duplicate", words)


def conflict_lines(standing: Standing, conflicts: Iterable[Conflict]) -> Iterator[dict[str, Any]]:
    """What the table of conflicts says: row ids and similarity, no text."""
    keys = standing.index.keys
    for left, right, similarity in conflicts:
        yield {"row": row_id(keys, left), "other": row_id(keys, right), "similarity": round(similarity, 4)}


def _changes(*columns: NDArray[Any]) -> NDArray[np.bool_]:
    """Where sorted columns take a new value."""
    changed = np.zeros(len(columns[0]), dtype=bool)
    changed[:1] = True
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    return changed


def _once(pairs: Numbers) -> NDArray[np.bool_]:
    """The first of equal pairs in a sorted list."""
    return _changes(pairs[:, 0], pairs[:, 1])
