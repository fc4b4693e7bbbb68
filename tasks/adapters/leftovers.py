"""What lies in the store and below HOME, who refers to it, and the removal of what may go."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from tasks.adapters import ledger
from tasks.adapters.garbage import References, Stored
from tasks.adapters.registry_client import client, registry_errors
from tasks.adapters.row_files import OUTPUT, Output
from tasks.adapters.store import LAYOUT, MARKER, Store
from tasks.contracts import Record

_SPOOL = "spool"  # is swept at every sync
_JOB = ".job.json"  # beside the work folder of a training
_TRAINING_STAGE = "train"
_TRAINING = f"store://{_TRAINING_STAGE}/"


class Leftover(Record):
    """A folder or file below HOME, or checkpoints in the object store, of no use to anybody any more."""

    path: str = Field(description="Below HOME; in the object store its address.")
    bytes: int = Field(ge=0)
    why: str
    training: str = Field("", description="Key of the unfinished training whose checkpoints lie in the object store.")


def discard(store: Store, uri: str) -> None:
    """Delete an output and its local copy, the marker first; the next run makes it again."""
    folder = _folder(store, uri)
    if store.fs.exists(f"{folder}/{MARKER}"):
        store.fs.rm_file(f"{folder}/{MARKER}")
    store.fs.rm(folder, recursive=True)
    shutil.rmtree(store.root / "cache" / uri.removeprefix("store://"), ignore_errors=True)


def stored(store: Store) -> Iterator[Stored]:
    """Every output in the store; tombstones are left out."""
    for uri in store.outputs():
        names = store.files(uri)
        marker = _json(store, uri, MARKER) if MARKER in names else {}
        adapter = marker.get("record", {}).get("adapter_digest", "") if uri.startswith(_TRAINING) else ""
        listed = Output.model_validate_json(_bytes(store, uri, OUTPUT)).shards if marker and OUTPUT in names else ()
        yield Stored(
            uri=uri,
            bytes=store.fs.du(_folder(store, uri)),
            used=_last_used(store, uri, complete=bool(marker)),
            complete=marker.get("layout") == LAYOUT,
            adapter=adapter,
            shards=tuple(sorted({shard.uri for shard in listed} - {uri})),
        )


def _last_used(store: Store, uri: str, *, complete: bool) -> datetime | None:
    """When an output was made, or a complete one asked for on this machine; None where nothing says so."""
    times = [store.fs.modified(path) for path in store.fs.find(_folder(store, uri))]
    lock = store.lock_of(uri)
    if complete and lock.exists():
        times.append(datetime.fromtimestamp(lock.stat().st_mtime, UTC))
    return max(times, default=None)


def references(validation: str) -> References:
    """Everything that refers to outputs: the list of dataset versions, and the model registry.

    Args:
        validation: URI of the newest validation.
    """
    versions, adapters = dict[str, str](), dict[str, str]()
    for name, tags in _models():
        versions[tags.get("dataset_uri", "")] = f"the data of {name}"
        adapters[tags.get("adapter_digest", "")] = name
    versions |= {entry.uri: entry.address for entry in ledger.entries()}
    for named in (versions, adapters):
        named.pop("", None)
    return References(versions=versions, adapters=adapters, validation=validation)


def _models() -> Iterator[tuple[str, dict[str, str]]]:
    """Every registered version with its lineage."""
    token: str | None = ""
    while token is not None:
        with registry_errors():
            page = client().search_model_versions("", page_token=token)
        yield from ((f"{version.name}/{version.version}", dict(version.tags)) for version in page)
        token = page.token or None


def leftovers(store: Store, before: datetime) -> list[Leftover]:
    """Work of attempts that ended before they were done, and local copies of remote outputs, untouched since."""
    work = [path for path in (store.root / "work").glob("*/*") if path.parent.name != _SPOOL]
    folders = {path.name for path in work if path.is_dir()}
    tops = [path for path in work if path.name.removesuffix(_JOB) not in folders or path.is_dir()]
    copies = [path for path in (store.root / "cache").glob("*/*") if (path / MARKER).is_file()]
    found = [(path, "work of an attempt that ended") for path in sorted(tops)]
    found += [(path, "copy of a remote output") for path in sorted(copies)]
    here = [
        Leftover(path=path.relative_to(store.root).as_posix(), bytes=_size(path), why=why)
        for path, why in found
        if _touched(path) < before
    ]
    return [*here, *_remote(store, before)]


def _remote(store: Store, before: datetime) -> Iterator[Leftover]:
    """Checkpoints in the object store of trainings that nobody went on with."""
    for key in store.remote_work(_TRAINING_STAGE):
        folder = store.remote_work_path(_TRAINING_STAGE, key)
        if max((store.fs.modified(path) for path in store.fs.find(folder)), default=before) < before:
            yield Leftover(
                path=store.remote_work_uri(_TRAINING_STAGE, key),
                bytes=store.fs.du(folder),
                why="checkpoints of an attempt that ended",
                training=key,
            )


def remove(store: Store, found: Iterable[Leftover]) -> None:
    """Delete leftovers; the note of a training goes with its work folder."""
    for leftover in found:
        if leftover.training:
            store.forget_remote_work(_TRAINING_STAGE, leftover.training)
            continue
        path = store.root / leftover.path
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name}{_JOB}").unlink(missing_ok=True)


def _folder(store: Store, uri: str) -> str:
    return f"{store.base}/stages/{uri.removeprefix('store://')}"


def _files(path: Path) -> list[Path]:
    found = path.rglob("*") if path.is_dir() else [path]
    return [file for file in found if file.is_file() and not file.is_symlink()]


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in _files(path))


def _touched(path: Path) -> datetime:
    """Of the newest file; folders do not count, since a removal that was cut short has touched them."""
    return datetime.fromtimestamp(max((file.stat().st_mtime for file in _files(path)), default=0), UTC)


def _json(store: Store, uri: str, name: str) -> dict[str, Any]:
    return dict(json.loads(_bytes(store, uri, name)))


def _bytes(store: Store, uri: str, name: str) -> bytes:
    with store.open_file(uri, name) as stream:
        return stream.read()
