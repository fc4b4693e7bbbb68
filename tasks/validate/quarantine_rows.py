"""Rows in quarantine as people look for them: of a file of rows, or of the newest validation in the store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tasks.adapters.row_files import Privacy, open_output, shard_path
from tasks.adapters.store import MARKER, Store
from tasks.contracts import Row
from tasks.errors import UsageError
from tasks.privacy.config import PrivacyConfig
from tasks.privacy.policy import privacy_record
from tasks.validate.stage import Verdict

_SHOWN = 5


def validations(store: Store) -> Iterator[str]:
    """References to the outputs of this stage, the newest first."""
    markers = store.fs.glob(f"{store.base}/stages/validate/*/{MARKER}")
    for marker in sorted(markers, key=lambda path: (store.fs.modified(path), path), reverse=True):
        key = marker.rsplit("/", 2)[1]
        if store.find("validate", key, Verdict) is not None:
            yield store.uri("validate", key)


def newest_validation(store: Store) -> str:
    """Reference to the stage output that was made last.

    Raises:
        UsageError: there is none.
    """
    for uri in validations(store):
        return uri
    raise UsageError("no data was validated here yet", remedy="run `tuneloop data prepare CONFIG` first")


def privacy_of_row(store: Store, row_id: str, uris: Iterable[str]) -> Privacy:
    """What is to be replaced in texts about a row: the rules of its source in all of these validations together.

    A row that none of them holds has the rules of a configuration that says nothing: rather too much is replaced.
    """
    begin = f'{{"row_id":"{row_id}"'.encode()
    outputs = (open_output(store, uri) for uri in uris)
    held = [o.privacy_of(s) for o in outputs for s in o.shards if _has_line(shard_path(store, s), begin)]
    return _together(held or [privacy_record(PrivacyConfig(), b"")])


def _has_line(path: Path, begin: bytes) -> bool:
    with path.open("rb") as stream:
        return any(line.startswith(begin) for line in stream)


def _together(rules: Sequence[Privacy]) -> Privacy:
    """All entities that any of the rules looks for; one is only reported where all that look for it only report it."""
    entities = tuple(dict.fromkeys(entity for one in rules for entity in one.entities))
    regions = tuple(dict.fromkeys(region for one in rules for region in one.phone_regions))
    actions = {e: {one.actions.get(e, "redact") for one in rules if e in one.entities} for e in entities}
    reported = dict.fromkeys((e for e, found in actions.items() if found == {"report"}), "report")
    return Privacy(entities=entities, phone_regions=regions, actions=reported)


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
