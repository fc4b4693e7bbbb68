"""Rows of a version by where they stand in its file: an index holds a number for each row, never the rows.

The place of a row is twice the byte at which its line starts, plus one where the row is held out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tasks.adapters import row_files
from tasks.contracts import Row


def placed(path: Path) -> Iterator[tuple[int, Row]]:
    """Every row of a file with its place."""
    with path.open("rb") as stream:
        offset = 0
        for line in stream:
            row = Row.model_validate_json(line)
            yield offset * 2 + (row.split == "test"), row
            offset += len(line)


def rows_at(path: Path, places: Iterable[int]) -> Iterator[Row]:
    """The rows at these places, in the order of the file."""
    with path.open("rb") as stream:
        for place in sorted(places):
            stream.seek(place // 2)
            yield Row.model_validate_json(stream.readline())


def is_held_out(place: int) -> bool:
    return place % 2 == 1


def holding(path: Path, texts: Sequence[bytes]) -> Iterator[Row]:
    """The rows whose line holds one of the texts."""
    with path.open("rb") as stream:
        for line in row_files.holding(stream, texts):
            yield Row.model_validate_json(line)
