"""A first look at unknown data: what it is, and how much of it fits a time limit. Pure apart from reading the files."""

from __future__ import annotations

import os
import re
import statistics
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tasks.contracts import Record
from tasks.errors import DataRefused
from tasks.ingest.config import SourceConfig
from tasks.ingest.documents import SourceReport
from tasks.ingest.look import FileLook, look_into

_HELD_OUT = re.compile(r"(^|[^a-z])(test|heldout|held_out|holdout|valid|validation|eval|dev)([^a-z]|$)", re.IGNORECASE)
_CHARACTERS_PER_TOKEN, _FEWEST_CHARACTERS_PER_TOKEN = 4.0, 2.5
_TEMPLATE_TOKENS = 10
# Share of the machine's bf16 product rate that a training step of the built-in model reaches (281 tokens/s at
# 426 GFLOP/s, `make demo`; docs/log.md), and the operations a token costs: 4 for every frozen weight.
_STEP_EFFICIENCY = 0.33
_OPERATIONS_PER_TOKEN = 4 * 135e6
_TRAINING_SHARE = 0.6
_ANSWERS_PER_SECOND = 2.0
_SMALL_ROWS = 1000
_KINDS_SHOWN = 3


class SourceLook(Record):
    """One source as it was found; `copies` are files with the same content, which are left out."""

    path: str
    shape: str
    why: str
    rows: int
    usable: int
    named_held_out: bool
    held_out: bool = False
    copies: tuple[str, ...] = ()

    @property
    def left_out(self) -> list[str]:
        """A sentence on each copy."""
        return [f"{copy} holds the same content as {self.path} and is left out" for copy in self.copies]


class Look(Record):
    """All sources, with what sizes are estimated from."""

    sources: tuple[SourceLook, ...]
    train_rows: int
    test_rows: int
    tokens_per_row: float
    longest_characters: int


class Sizes(Record):
    """How much of the data a run within the time limit sees."""

    train_rows: int
    train_rows_available: int
    train_share: float
    test_rows: int
    test_rows_available: int
    epochs: int
    tokens_per_second: float
    minutes: float

    @property
    def sentence(self) -> str:
        """The shares, for people."""
        return (
            f"in {self.minutes:g} minutes this machine trains on about {self.train_rows:,} of "
            f"{self.train_rows_available:,} rows ({self.train_share:.0%}) and evaluates {self.test_rows:,} of "
            f"{self.test_rows_available:,} held-out rows"
        )


def look_at(files: Sequence[Path], folder: Path) -> Look:
    """Read the files as the ingest stage would and note what they are.

    Args:
        files: data files or folders.
        folder: where the configuration will lie; paths are written relative to it.

    Raises:
        UsageError, DataRefused: as reading raises them; DataRefused also when fewer than two rows are usable.
    """
    sources = [
        SourceConfig(path=str(f.absolute()), split="test" if _HELD_OUT.search(f.stem) else "auto") for f in files
    ]
    looks: list[SourceLook] = []
    lengths: dict[bool, list[int]] = {True: [], False: []}  # of usable rows, by whether the name says held out
    with tempfile.TemporaryDirectory() as scratch:
        for found in look_into(sources, folder, Path(scratch)):
            looks += _source_look(found, folder)
            lengths[found.source.split == "test"] += [
                sum(len(m.content) for m in row.messages) for row in found.rows if row.outcome == "kept"
            ]
    return _measured(looks, lengths[False], lengths[True], files)


def _source_look(found: FileLook, folder: Path) -> list[SourceLook]:
    """The file as one source, with all that an archive holds; nothing where it holds no file with records."""
    if not found.reports:
        return []
    shapes = {r.shape for r in found.reports}
    return [SourceLook(
        path=os.path.relpath(found.path, folder), shape=shapes.pop() if len(shapes) == 1 else "auto",
        why=_why(found.reports), rows=sum(r.rows for r in found.reports), usable=sum(r.kept for r in found.reports),
        named_held_out=found.source.split == "test",
        copies=tuple(dict.fromkeys(os.path.relpath(path, folder) for path in found.copies if path != found.path)),
    )]  # fmt: skip


def _why(reports: Sequence[SourceReport]) -> str:
    """Why the shape is what it is; of an archive with members of several shapes, the first few of them."""
    if len(reports) == 1:
        return reports[0].why
    kinds = Counter(f"{r.shape}: {r.why}" for r in reports)
    more = f"; and {len(kinds) - _KINDS_SHOWN} more" if len(kinds) > _KINDS_SHOWN else ""
    return "; ".join(f"{n} x {kind}" for kind, n in kinds.most_common(_KINDS_SHOWN)) + more


def _measured(looks: Sequence[SourceLook], plain: list[int], named: list[int], files: Sequence[Path]) -> Look:
    """Sizes from the lengths of the usable rows, in characters.

    Names decide what is held out only where both sides have rows: otherwise no run could train, or evaluate.
    """
    lengths, apart = plain + named, bool(plain and named)
    if len(lengths) < 2:
        raise _too_few(looks, len(lengths), files)
    test = len(named) if apart else max(1, round(0.2 * len(lengths)))
    tokens = statistics.fmean(lengths) / _CHARACTERS_PER_TOKEN + _TEMPLATE_TOKENS
    return Look(
        sources=tuple(s.model_copy(update={"held_out": apart and s.named_held_out}) for s in looks),
        train_rows=len(lengths) - test,
        test_rows=test,
        tokens_per_row=tokens,
        longest_characters=max(lengths),
    )


def _too_few(looks: Sequence[SourceLook], usable: int, files: Sequence[Path]) -> DataRefused:
    return DataRefused(
        "only one row is usable" if usable else "no row is usable",
        where=", ".join(map(str, files)),
        why="; ".join(f"{s.path}: {s.usable} of {s.rows} rows usable ({s.why})" for s in looks) or "there is no row",
        remedy="give at least two rows that are understood: one is trained on, one is held out",
    )


def tokens_at_most(look: Look) -> int:
    """Tokens of the longest row, by the fewest characters a token usually has."""
    return int(look.longest_characters / _FEWEST_CHARACTERS_PER_TOKEN) + _TEMPLATE_TOKENS


def sizes_for(look: Look, minutes: float, gflops: float) -> Sizes:
    """How many rows and passes fit into the time limit at this machine's product rate."""
    rate = gflops * 1e9 * _STEP_EFFICIENCY / _OPERATIONS_PER_TOKEN
    passes = max(1.0, rate * minutes * 60 * _TRAINING_SHARE / look.tokens_per_row)  # rows a pass, times passes
    epochs = 1 if look.train_rows > _SMALL_ROWS else max(1, min(3, int(passes / max(1, look.train_rows))))
    train = max(16, min(look.train_rows, int(passes / epochs)))
    test = max(30, min(look.test_rows, int(minutes * 60 * (1 - _TRAINING_SHARE) * _ANSWERS_PER_SECOND / 2)))
    return Sizes(
        train_rows=min(train, look.train_rows), train_rows_available=look.train_rows,
        train_share=min(1.0, train / max(1, look.train_rows)), test_rows=min(test, look.test_rows),
        test_rows_available=look.test_rows, epochs=epochs, tokens_per_second=round(rate, 1), minutes=minutes,
    )  # fmt: skip
