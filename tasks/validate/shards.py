"""The work on one shard: measure its rows, and later write them again with what became of them.

Both run in worker processes, so they take and give only what can be sent there: paths, numbers and a few words.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from tasks.adapters.row_decisions import Overlay
from tasks.adapters.row_files import Privacy, Shard, ShardWriter, iter_rows, quarantined
from tasks.contracts import Row
from tasks.validate.config import ChecksConfig
from tasks.validate.decisions import decided, redactor_for
from tasks.validate.lengths import TokenCounter
from tasks.validate.measures import MEASURES, measure
from tasks.validate.quarantine_file import line_of, write_part

_BATCH = 512  # rows in memory at once


@dataclass(frozen=True)
class Work:
    """What is the same for all shards."""

    checks: ChecksConfig
    tokenizer: str  # folder
    overlays: dict[str, Overlay] = field(default_factory=dict)
    key: bytes = field(default=b"", repr=False)  # that the rows were made with, where something is decided about them


@dataclass(frozen=True)
class Given:
    """A shard as the stage before left it, and what was replaced in it."""

    path: Path
    privacy: Privacy


@dataclass(frozen=True)
class Measured:
    """Lines of MEASURES of the kept rows, in order, and which rules single rows need not keep (position → codes)."""

    numbers: Any
    accepted: dict[int, tuple[str, ...]]


@dataclass(frozen=True)
class Breach:
    """Why a row is quarantined."""

    code: str
    words: str
    repair: str


@dataclass(frozen=True)
class Judged:
    """A shard with the verdict on its kept rows; positions count kept rows only."""

    given: Given
    file: str
    quality: Any
    breaches: dict[int, Breach]


def measure_shard(given: Given, work: Work) -> Measured:
    """Numbers of the kept rows of a shard."""
    counter = _counter(work.tokenizer)
    kept = (row for row in _rows(given, work) if row.outcome == "kept")
    made, start = [np.zeros(0, MEASURES)], 0
    accepted: dict[int, tuple[str, ...]] = {}
    count = None
    while batch := list(islice(kept, _BATCH)):
        count = count or counter.proven([row.messages for row in batch])
        made.append(measure(batch, work.checks, count, counter.writes_tools))
        named = {start + i: work.overlays.get(row.row_id) for i, row in enumerate(batch)} if work.overlays else {}
        accepted |= {position: o.accepted for position, o in named.items() if o and o.accepted}
        start += len(batch)
    return Measured(np.concatenate(made), accepted)


def rewrite_shard(judged: Judged, work: Work, folder: Path, uri: str) -> Shard:
    """Write the rows with score and outcome, and the part of `quarantine.parquet` that belongs to them."""
    lines = []
    with ShardWriter(folder, uri, judged.file) as writer:
        position = 0
        for row in _rows(judged.given, work):
            if row.outcome == "kept":
                row = _with_verdict(row, position, judged)
                position += 1
            if row.outcome == "quarantined":
                lines.append(line_of(row))
            writer.write(row)
        shard = writer.shard()
    write_part(part_path(folder, judged.file), lines)
    return shard


def part_path(folder: Path, file: str) -> Path:
    return folder / "quarantine" / f"{file}.parquet"


def _with_verdict(row: Row, position: int, judged: Judged) -> Row:
    row = row.model_copy(update={"quality": int(judged.quality[position])})
    breach = judged.breaches.get(position)
    return quarantined(row, breach.code, breach.words, breach.repair) if breach else row


def _rows(given: Given, work: Work) -> Iterator[Row]:
    """Rows of a shard as the decisions of people want them."""
    if not work.overlays:
        yield from iter_rows(given.path)
        return
    redactor = redactor_for(given.privacy, work.key)
    for row in iter_rows(given.path):
        overlay = work.overlays.get(row.row_id)
        yield decided(row, overlay, redactor) if overlay else row


@functools.lru_cache(maxsize=1)
def _counter(folder: str) -> TokenCounter:
    return TokenCounter(Path(folder))
