"""Candidate pairs compared on their true sets: the rows are read again where the first pass wrote them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.contracts import Row
from tasks.process.config import ProcessConfig
from tasks.process.features import shingling_of
from tasks.similarity.keys import is_free_text, normalised, row_keys
from tasks.similarity.lsh import Pairs
from tasks.similarity.minhash import U64, Shingling, jaccard, shingle_sets

BATCH_PAIRS = 512
_ROUNDING = 1e-9


class Batch(NamedTuple):
    """Pairs of row numbers, and where these rows are: `rows` is sorted, `files[k]` and `offsets[k]` belong to it."""

    pairs: Pairs
    rows: NDArray[np.int64]
    files: tuple[Path, ...]
    offsets: tuple[int, ...]


class Compared(NamedTuple):
    """Pairs that are similar enough, with their similarity and whether their answers say the same."""

    pairs: Pairs
    similarity: NDArray[np.float32]
    agree: NDArray[np.bool_]


def batches(
    pairs: Iterable[Pairs], files: Sequence[Path], firsts: NDArray[np.int64], keys: NDArray[Any]
) -> Iterator[Batch]:
    """Candidate pairs in portions; `firsts[s]` is the number of the first row in `files[s]`."""
    for found in pairs:
        for start in range(0, len(found), BATCH_PAIRS):
            part = found[start : start + BATCH_PAIRS]
            rows = np.unique(part)
            shards = np.searchsorted(firsts, rows, side="right") - 1
            yield Batch(part, rows, tuple(files[s] for s in shards), tuple(map(int, keys["offset"][rows])))


def compare(batch: Batch, config: ProcessConfig) -> Compared:
    """The pairs of a batch whose similarity is at least the threshold and whose scope is the same."""
    sides = _sides(batch, shingling_of(config))
    threshold = config.near_duplicate_threshold - _ROUNDING
    found: list[tuple[int, int, float, bool]] = []
    for left, right in batch.pairs.tolist():
        one, other = sides[left], sides[right]
        similarity = jaccard(one.compared, other.compared) if one.scope == other.scope else 0.0
        if similarity >= threshold:
            found.append((left, right, similarity, _agree(one, other, threshold)))
    return Compared(
        np.array([f[:2] for f in found], dtype=np.int64).reshape(-1, 2),
        np.array([f[2] for f in found], dtype=np.float32),
        np.array([f[3] for f in found], dtype=bool),
    )


class _Side(NamedTuple):
    """What a comparison needs of one row. `free` is the set of the answer where it is free text."""

    scope: str
    compared: U64
    answer: str
    free: U64 | None


def _agree(one: _Side, other: _Side, threshold: float) -> bool:
    if one.answer == other.answer:
        return True
    return one.free is not None and other.free is not None and jaccard(one.free, other.free) >= threshold


def _sides(batch: Batch, shingling: Shingling) -> dict[int, _Side]:
    rows = list(_read(batch))
    keys = [row_keys(row) for row in rows]
    answers = [normalised(row.answer) if _is_free(row) else "" for row in rows]
    compared = shingle_sets([k.compared for k in keys], shingling)
    free = shingle_sets(answers, shingling)
    return {
        number: _Side(k.scope, c, k.answer if row.prompt else "", f if a else None)
        for number, row, k, c, a, f in zip(batch.rows.tolist(), rows, keys, compared, answers, free, strict=True)
    }


def _is_free(row: Row) -> bool:
    return is_free_text(row.answer) and not row.messages[-1].tool_calls


def _read(batch: Batch) -> Iterator[Row]:
    path, stream = None, None
    try:
        for file, offset in zip(batch.files, batch.offsets, strict=True):
            if file != path or stream is None:
                if stream is not None:
                    stream.close()
                path, stream = file, file.open("rb")
            stream.seek(offset)
            yield Row.model_validate_json(stream.readline())
    finally:
        if stream is not None:
            stream.close()
