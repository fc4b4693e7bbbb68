"""Object stores and drives behind fsspec: S3, GCS, Azure, SharePoint, Google Drive."""

from __future__ import annotations

import glob
import itertools
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from fsspec.utils import glob_translate

from tasks.adapters.sources.connector import Fingerprint, Item, Known, Listing
from tasks.adapters.sources.filesystems import Opened, open_filesystem
from tasks.adapters.sources.spec import SourceSpec
from tasks.digest import digest_of
from tasks.errors import EnvironmentUnusable, TuneloopError, UsageError

T = TypeVar("T")
_ATTEMPTS = 4
_PAUSE_SECONDS = 0.3
_PIECE_BYTES = 4 << 20
# What the stores say about a version of an object: S3, GCS, Azure, SharePoint, Drive.
_VERSION_FIELDS = ("ETag", "etag", "eTag", "cTag", "VersionId", "generation", "md5Hash", "md5Checksum", "LastModified",
                   "last_modified", "updated", "modifiedTime", "id")  # fmt: skip
_GOOGLE_DOCUMENT = "application/vnd.google-apps."


class Objects:
    """The objects that an address names: one object, a prefix ("folder"), or a pattern."""

    def __init__(self, spec: SourceSpec, suffixes: Sequence[str]) -> None:
        self._spec, self._suffixes = spec, tuple(suffixes)
        self._opened: Opened | None = None

    def listing(self) -> Listing:
        opened = self._open()
        found = self._patiently(opened.shown(opened.path), lambda: list(self._found(opened)))
        self._no_name_twice(opened, [path for path, _ in found])
        passed_over: list[str] = []
        explicit = [path for path, _ in found] == [opened.path]
        items = [self._item(opened, path, info, explicit, passed_over) for path, info in sorted(found, key=_path)]
        return Listing(tuple(item for item in items if item), tuple(passed_over))

    def fingerprint(self, item: Item, known: Known | None) -> Fingerprint:  # noqa: ARG002 - the listing's token says it
        """Digest of one version of the object: the store names the same version before and after it was read."""
        opened = self._open()
        for _ in range(_ATTEMPTS):
            found = self._patiently(item.uri, lambda: self._read(opened, item))
            if found:
                return found
        raise EnvironmentUnusable(
            "the source changed while it was read", where=item.uri, remedy="run again when nothing writes to it"
        )

    def copy(self, address: str, target: Path) -> None:
        opened = self._open()
        self._patiently(address, lambda: self._write(opened, address, target))

    def _read(self, opened: Opened, item: Item) -> Fingerprint | None:
        path, sha, size = opened.path_of(item.address), sha256(), 0
        before = _version(opened.fs.info(path, **opened.refresh))
        for piece in self._pieces(opened, path):
            sha.update(piece)
            size += len(piece)
        same = _version(opened.fs.info(path, **opened.refresh)) == before
        return Fingerprint(before or item.token, sha.hexdigest(), size) if same else None

    def _write(self, opened: Opened, address: str, target: Path) -> None:
        with target.open("wb") as stream:
            for piece in self._pieces(opened, opened.path_of(address)):
                stream.write(piece)

    def _patiently(self, shown: str, ask: Callable[[], T]) -> T:
        """What the store answers. The clients of drives do not repeat a request that failed; those of buckets do."""
        attempts = _ATTEMPTS if self._open().folders else 1
        for attempt in range(attempts):
            try:
                return ask()
            except TuneloopError:
                raise
            except Exception as error:
                coded = _coded(error, shown)
                if attempt == attempts - 1 or not isinstance(coded, EnvironmentUnusable):
                    raise coded from None
                time.sleep(_PAUSE_SECONDS * 2**attempt)
        raise AssertionError("the last attempt answers or raises")

    def _open(self) -> Opened:
        if self._opened is None:
            try:
                self._opened = open_filesystem(self._spec)
            except TuneloopError:
                raise
            except Exception as error:
                raise UsageError(
                    "the store cannot be opened with the secret that was given",
                    where=self._spec.credentials or self._spec.path,
                    why=type(error).__name__,
                    remedy="check the keys of the JSON object in this environment variable",
                ) from None
        return self._opened

    def _no_name_twice(self, opened: Opened, paths: Sequence[str]) -> None:
        """Google Drive lets two files of one folder have the same name; then nobody could say which one is meant."""
        twice = [path for path, count in Counter(paths).items() if count > 1]
        if twice:
            raise UsageError(
                "two files of one folder have the same name",
                where=opened.shown(twice[0]),
                remedy="rename one of them at the source",
            )

    def _found(self, opened: Opened) -> Iterator[tuple[str, Mapping[str, Any]]]:
        info = self._info_of_a_file(opened)
        if info:
            yield opened.path, info
        elif glob.has_magic(opened.path):
            wanted = re.compile(glob_translate(opened.path))
            yield from ((path, info) for path, info in opened.below(_fixed_part(opened.path)) if wanted.match(path))
        else:
            yield from opened.below(opened.path)

    def _info_of_a_file(self, opened: Opened) -> Mapping[str, Any] | None:
        """What the store says of the path itself, where that is a file. A pattern may also be the name of one."""
        try:
            info = opened.fs.info(opened.path) if opened.path else None
        except Exception as error:
            if glob.has_magic(opened.path) and _no_such_name(error):
                return None
            raise
        return info if info and info["type"] == "file" else None

    def _item(
        self, opened: Opened, path: str, info: Mapping[str, Any], explicit: bool, passed_over: list[str]
    ) -> Item | None:
        name, uri = PurePosixPath(path).name, opened.shown(path)
        reason = self._reason_to_ignore(opened.inside(path), name, info)
        if reason and explicit:
            raise UsageError(
                f"files of the kind '{PurePosixPath(name).suffix or name}' cannot be read",
                where=uri,
                remedy=f"convert it to one of {', '.join(self._suffixes)}",
            )
        if reason:
            passed_over.append(f"{uri}: {reason}")
            return None
        return Item(uri=uri, address=uri, name=name, token=_version(info), explicit=explicit)

    def _reason_to_ignore(self, inside: str, name: str, info: Mapping[str, Any]) -> str:
        if info.get("type") == "directory":
            return "a folder"
        if str(info.get("mimeType", "")).startswith(_GOOGLE_DOCUMENT):
            return "a Google document has no bytes of its own; export it to a file"
        if any(part.startswith(".") for part in PurePosixPath(inside).parts):
            return "hidden"
        return "" if name.lower().endswith(self._suffixes) else "unknown extension"

    def _pieces(self, opened: Opened, path: str) -> Iterator[bytes]:
        with opened.fs.open(path, "rb") as stream:
            while piece := stream.read(_PIECE_BYTES):
                yield piece


def _path(found: tuple[str, Mapping[str, Any]]) -> str:
    return found[0]


def _fixed_part(pattern: str) -> str:
    """What stands before the first part of a pattern that holds a wildcard."""
    parts = pattern.split("/")
    return "/".join(itertools.takewhile(lambda part: not glob.has_magic(part), parts))


def _version(info: Mapping[str, Any]) -> str:
    """What the store says about this version of an object; empty where it says nothing but the size."""
    detail = {**info, **info.get("item_info", {})}
    said = {name: str(detail[name]) for name in _VERSION_FIELDS if detail.get(name)}
    return digest_of([said, detail.get("size")])[:32] if said else ""


def _status(error: Exception) -> int | None:
    """The HTTP status that the client's error carries, on itself or on its response."""
    return getattr(getattr(error, "response", None), "status_code", None) or getattr(error, "status_code", None)


def _no_such_name(error: Exception) -> bool:
    """No file has that name, or the store does not allow it as one; the listing that follows tells of all the rest."""
    return isinstance(error, OSError) or _status(error) in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND)


def _coded(error: Exception, shown: str) -> TuneloopError:
    """The clients raise errors of many kinds; their texts can hold details of requests and stay unsaid."""
    status = _status(error)
    if isinstance(error, FileNotFoundError) or status == HTTPStatus.NOT_FOUND:
        return UsageError(
            "the source does not exist", where=shown, remedy="correct data.sources[].path or its credentials"
        )
    if isinstance(error, PermissionError) or status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return UsageError(
            "the store refuses access",
            where=shown,
            remedy="check data.sources[].credentials and the rights behind them",
        )
    why = f"{type(error).__name__}{f' {status}' if status else ''}"
    return EnvironmentUnusable("the store does not answer", where=shown, why=why, remedy="try again later")
