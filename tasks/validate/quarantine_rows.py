"""Rows in quarantine as people look for them: of a file of rows, or of the newest validation in the store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from tasks.adapters.row_files import open_output, shard_path
from tasks.adapters.store import MARKER, Store
from tasks.contracts import Row
from tasks.errors import UsageError
from tasks.validate.stage import Verdict

_SHOWN = 5


def newest_validation(store: Store) -> str:
    """Reference to the stage output that was made last.

    Raises:
        UsageError: there is none.
    """
    markers = store.fs.glob(f"{store.base}/stages/validate/*/{MARKER}")
    for marker in sorted(markers, key=lambda path: (store.fs.modified(path), path), reverse=True):
        key = marker.rsplit("/", 2)[1]
        if store.find("validate", key, Verdict) is not None:
            return store.uri("validate", key)
    raise UsageError("no data was validated here yet", remedy="run `tuneloop data prepare CONFIG` first")


def files_of(store: Store, uri: str) -> list[Path]:
    """The files of rows of a stage output."""
    return [shard_path(store, shard) for shard in open_output(store, uri).shards]


def in_quarantine(files: Iterable[Path]) -> Iterator[Row]:
    """Rows in quarantine, in order; other lines are not parsed."""
    for row in _matching(files, b'"outcome":"quarantined"'):
        if row.outcome == "quarantined":
            yield row


def find_row(files: Iterable[Path], wanted: str) -> Row:
    """The row in quarantine with this id, or the only one whose id begins so.

    Raises:
        UsageError: there is none, or more than one.
    """
    found = [row for row in _matching(files, f'"row_id":"{wanted}'.encode()) if row.row_id.startswith(wanted)]
    found = [row for row in found if row.row_id == wanted] or found
    if len(found) > 1:
        shown = ", ".join(row.row_id for row in found[:_SHOWN])
        raise UsageError("more than one row begins so", where=wanted, why=shown, remedy="give the whole row id")
    if not found or found[0].outcome != "quarantined":
        why = f"the row is {found[0].outcome}" if found else "no row has this id"
        raise UsageError("this row is not in quarantine", where=wanted, why=why,
                         remedy="see `tuneloop data quarantine list`")  # fmt: skip
    return found[0]


def _matching(files: Iterable[Path], text: bytes) -> Iterator[Row]:
    for path in files:
        with path.open("rb") as stream:
            yield from (Row.model_validate_json(line) for line in stream if text in line)
