"""The content-addressed store: stage outputs keyed by the digest of their inputs, behind one fsspec URI.

A stage output is a folder `stages/<stage>/<key>/` whose completion marker is written last: a folder without a
marker does not exist. References are `store://<stage>/<key>`, so that a store can move. An output that was erased is a
tombstone: its marker and files are gone, a note names the certificate.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem
from pydantic import Field, ValidationError

from tasks.adapters.claim import claim, share
from tasks.adapters.disk import disk_errors, move_into_place
from tasks.contracts import Record
from tasks.digest import digest_file, digest_of
from tasks.errors import DataRefused
from tasks.settings import Settings

MARKER = "_COMPLETE.json"
TOMBSTONE = "_ERASED.json"
USERS = "store.lock"
LAYOUT = 1
_SCHEME = "store://"
_WORK = "work"  # unfinished work lies under this name, here and in an object store
R = TypeVar("R", bound=Record)


class Tombstone(Record):
    """What stands in the place of an output whose files were erased."""

    certificate: str = Field(description="Number of the certificate that says what was erased and why.")
    at: datetime = Field(description="UTC.")
    kept: tuple[str, ...] = Field((), description="Files that stayed, such as a manifest.")


def stage_key(revision: int, *inputs: object) -> str:
    """Key of a stage output: digest over the stage's REVISION, the digests of its inputs and its configuration."""
    return digest_of([revision, *[i.model_dump(mode="json") if isinstance(i, Record) else i for i in inputs]])


class Store:
    """Stage outputs under one URI; work in progress lies in a local folder.

    Args:
        uri: folder or fsspec URI (s3://bucket/prefix, ...).
        root: local folder (TUNELOOP_HOME) for locks, work in progress and copies of remote outputs.
    """

    def __init__(self, uri: str, root: Path) -> None:
        self.fs, self.base = fsspec.core.url_to_fs(uri)
        self.root = root
        self.local = isinstance(self.fs, LocalFileSystem)

    @classmethod
    def open(cls) -> Store:
        """The store that the settings name. Until the process ends it counts as in use: nothing is freed in it."""
        settings = Settings()
        share(settings.root / "locks" / USERS, "store")
        return cls(settings.store, settings.root)

    def uri(self, stage: str, key: str) -> str:
        return f"{_SCHEME}{stage}/{key}"

    def produce(self, stage: str, key: str, kind: type[R], make: Callable[[Path], R], *, resumable: bool = False) -> R:
        """The record of this stage output; `make(folder)` is called only if it is not there yet.

        Two callers with the same key: the second waits, then takes what the first made. Those of two machines do not
        wait; both take what was finished first. A killed attempt leaves its work folder; with `resumable` the next
        attempt gets it as it is, otherwise an empty one.
        """
        with claim(self._lock(stage, key), f"stage {stage} ({key[:12]})"):
            found = self.find(stage, key, kind)
            if found is not None:
                return found
            with disk_errors(self.root):
                work = self._work_folder(stage, key, resumable)
                record = make(work)
                self.fs.invalidate_cache()
                found = self.find(stage, key, kind)
                if found is not None:  # a machine with locks of its own was faster: others may refer to what it made
                    shutil.rmtree(work)
                    return found
                self._commit(stage, key, work, record)
        return record

    def find(self, stage: str, key: str, kind: type[R]) -> R | None:
        """The record of a complete output, or None. A record of an older layout counts as absent."""
        path = f"{self._folder(stage, key)}/{MARKER}"
        if not self.fs.exists(path):
            return None
        marker = json.loads(self.fs.cat_file(path))
        if marker.get("layout") != LAYOUT:
            return None
        try:
            return kind.model_validate(marker["record"])
        except ValidationError:
            return None

    def find_at(self, uri: str, kind: type[R]) -> R | None:
        """As `find`, for a reference."""
        return self.find(*_parts(uri), kind)

    def path(self, uri: str) -> Path:
        """Local folder of a stage output; a remote one is copied to the local cache first.

        Raises:
            DataRefused: the output was erased.
        """
        stage, key = _parts(uri)
        key, _, inner = key.partition("/")
        self._refuse_erased(uri)
        if self.local:
            return Path(self._folder(stage, key), inner)
        copy = self._copy(self.uri(stage, key))
        if not (copy / MARKER).exists():
            with claim(self.root / "locks" / f"copy-{stage}-{key[:32]}.lock", f"copy of {stage} ({key[:12]})"):
                self._fetch(self.uri(stage, key), copy)
        return copy / inner

    def _fetch(self, uri: str, copy: Path) -> None:
        """Copy a remote output, its marker last: what a killed copy left does not count."""
        if (copy / MARKER).exists():
            return
        shutil.rmtree(copy, ignore_errors=True)
        folder = self._folder(*_parts(uri))
        if names := [name for name in self.files(uri) if name != MARKER]:
            self.fs.get([f"{folder}/{name}" for name in names], [str(copy / name) for name in names])
        write_atomically(copy / MARKER, self.fs.cat_file(f"{folder}/{MARKER}").decode("utf-8"))

    def verify(self, uri: str) -> list[str]:
        """Names of files of a stage output that are missing or differ from the marker's SHA-256."""
        folder = self.path(uri)
        files: dict[str, str] = json.loads((folder / MARKER).read_text())["files"]
        return [n for n, d in files.items() if not (folder / n).is_file() or digest_file(folder / n) != d]

    def outputs(self) -> Iterator[str]:
        """URIs of everything that lies in the store, complete or not; tombstones are left out."""
        self.fs.invalidate_cache()
        for stage in _names(self.fs, f"{self.base}/stages"):
            for key in _names(self.fs, f"{self.base}/stages/{stage}"):
                if self.tombstone(self.uri(stage, key)) is None:
                    yield self.uri(stage, key)

    def files(self, uri: str) -> list[str]:
        """Names of the files of an output, marker and tombstone included."""
        folder = self._folder(*_parts(uri))
        return sorted(path.removeprefix(f"{folder}/") for path in self.fs.find(folder))

    def open_file(self, uri: str, name: str) -> BinaryIO:
        """A file of an output, to be read from where it lies: nothing is copied."""
        return cast(BinaryIO, self.fs.open(f"{self._folder(*_parts(uri))}/{name}", "rb"))

    def record(self, uri: str) -> dict[str, Any]:
        """The record of a complete output as JSON values; empty where there is none."""
        path = f"{self._folder(*_parts(uri))}/{MARKER}"
        return dict(json.loads(self.fs.cat_file(path))["record"]) if self.fs.exists(path) else {}

    def tombstone(self, uri: str) -> Tombstone | None:
        """The note of an output that was erased and not made again since."""
        stage, key = _parts(uri)
        folder = self._folder(stage, key.split("/", 1)[0])
        if not self.fs.exists(f"{folder}/{TOMBSTONE}") or self.fs.exists(f"{folder}/{MARKER}"):
            return None
        return Tombstone.model_validate_json(self.fs.cat_file(f"{folder}/{TOMBSTONE}"))

    def entomb(self, uri: str, keep: Collection[str], certificate: str) -> None:
        """Erase an output but for the files in `keep`; it counts as absent then. Repeating finishes the work."""
        stage, key = _parts(uri)
        folder = self._folder(stage, key)
        with claim(self._lock(stage, key), f"erasure of {stage} ({key[:12]})"):
            there = self.files(uri)
            note = self.tombstone(uri) or Tombstone(
                certificate=certificate, at=datetime.now(UTC), kept=tuple(n for n in there if n in keep)
            )
            self.fs.makedirs(folder, exist_ok=True)
            self.fs.pipe_file(f"{folder}/{TOMBSTONE}", note.model_dump_json(indent=1).encode())
            gone = [name for name in there if name not in (*note.kept, TOMBSTONE)]
            for name in sorted(gone, key=lambda name: name != MARKER):
                self.fs.rm_file(f"{folder}/{name}")
            shutil.rmtree(self._copy(uri), ignore_errors=True)
            shutil.rmtree(self.root / _WORK / stage / key, ignore_errors=True)
            self.forget_remote_work(stage, key)

    def remote_work_uri(self, stage: str, key: str) -> str:
        """Where unfinished work is kept a second time, so that another machine can go on; empty for a local store."""
        return "" if self.local else str(self.fs.unstrip_protocol(self.remote_work_path(stage, key)))

    def remote_work(self, stage: str) -> list[str]:
        """Keys of the unfinished work that is kept in the object store."""
        self.fs.invalidate_cache()
        return [] if self.local else _names(self.fs, self._remote_work(stage))

    def forget_remote_work(self, stage: str, key: str) -> None:
        """Remove unfinished work from the object store."""
        self.fs.invalidate_cache()
        if not self.local and self.fs.exists(self.remote_work_path(stage, key)):
            self.fs.rm(self.remote_work_path(stage, key), recursive=True)

    def remote_work_path(self, stage: str, key: str) -> str:
        """Where unfinished work lies in the object store, as `fs` names it."""
        return f"{self._remote_work(stage)}/{key}"

    def _remote_work(self, stage: str) -> str:
        return "/".join((self.base, _WORK, stage))

    def _refuse_erased(self, uri: str) -> None:
        note = self.tombstone(uri)
        if note is None:
            return
        shutil.rmtree(self._copy(uri), ignore_errors=True)
        raise DataRefused(
            "these rows were erased",
            where=uri,
            why=f"certificate {note.certificate} of {note.at:%Y-%m-%d}",
            remedy="the certificate in HOME/certificates names the version that took the place of the old one",
        )

    def _copy(self, uri: str) -> Path:
        """Where a remote output is copied to."""
        stage, key = _parts(uri)
        return self.root / "cache" / stage / key

    def lock_of(self, uri: str) -> Path:
        """The lock of an output: it is touched whenever the output is asked for by `produce`."""
        return self._lock(*_parts(uri))

    def _lock(self, stage: str, key: str) -> Path:
        return self.root / "locks" / f"{stage}-{key[:32]}.lock"

    def _folder(self, stage: str, key: str) -> str:
        return f"{self.base}/stages/{stage}/{key}"

    def _work_folder(self, stage: str, key: str, resumable: bool) -> Path:
        work = self.root / _WORK / stage / key
        if not resumable:
            shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True, exist_ok=True)
        return work

    def _commit(self, stage: str, key: str, work: Path, record: Record) -> None:
        files = {p.relative_to(work).as_posix(): digest_file(p) for p in sorted(work.rglob("*")) if p.is_file()}
        marker = json.dumps({"layout": LAYOUT, "record": record.model_dump(mode="json"), "files": files}, indent=1)
        target = self._folder(stage, key)
        if self.local:
            move_into_place(work, Path(target))
            write_atomically(Path(target) / MARKER, marker)
        else:
            self._remove_others(self.uri(stage, key), files)
            # One by one: a folder that is put where there is one already is copied into it.
            self.fs.put([str(work / name) for name in files], [f"{target}/{name}" for name in files])
            self.fs.pipe_file(f"{target}/{MARKER}", marker.encode())
            shutil.rmtree(work)

    def _remove_others(self, uri: str, names: Collection[str]) -> None:
        """Remove what a killed upload or an erasure left in an object store, the marker of an older layout first.

        Files of these names stay: they are written anew, and another machine may be putting the same output now.
        """
        folder = self._folder(*_parts(uri))
        for name in sorted(set(self.files(uri)) - set(names), key=lambda name: name != MARKER):
            self.fs.rm_file(f"{folder}/{name}")


def _parts(uri: str) -> tuple[str, str]:
    """Stage and key of a reference."""
    stage, key = uri.removeprefix(_SCHEME).split("/", 1)
    return stage, key


def _names(fs: Any, folder: str) -> list[str]:
    """Names of the folders in a folder; none where there is no such folder."""
    if not fs.exists(folder):
        return []
    found = fs.ls(folder, detail=True)
    return sorted(entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in found if entry["type"] == "directory")


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file so that readers see the old content or the new one, never a part of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
