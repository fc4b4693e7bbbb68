"""Which connector reads which kind of source. What a kind needs is imported when it is used."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tasks.adapters.sources.connector import Connector, RecordReader
from tasks.adapters.sources.egress import Network
from tasks.adapters.sources.local import LocalFiles
from tasks.adapters.sources.spec import SourceSpec
from tasks.digest import digest_of

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".md", ".markdown")


@dataclass(frozen=True)
class Surroundings:
    """What connectors need around them."""

    base: Path
    """Folder where relative paths start."""
    suffixes: Sequence[str] = SUFFIXES
    """Endings of names that can be read, in lower case."""
    network: Network = field(default_factory=Network)
    spools: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    """Temporary files that live as long as the sync's block."""


def identity(spec: SourceSpec, base: Path) -> str:
    """Digest of what decides which documents a source has: not of its secret, its patience or how it is used."""
    path = str((base / Path(spec.path).expanduser()).absolute()) if spec.kind == "local" else spec.path
    http = spec.http.model_dump(include=_HTTP_IDENTITY) if spec.http else None
    log = spec.log.model_dump(mode="json") if spec.log else None
    return digest_of([spec.kind, path, spec.query, spec.key, spec.updated, http, log])


_HTTP_IDENTITY = {"items", "next_page", "cursor_parameter", "link_header", "page_parameter", "first_page"}


def connect(spec: SourceSpec, around: Surroundings, salt: bytes = b"") -> Connector:
    """The connector of a source; `salt` keys the hashes of its records."""
    if not spec.of_records:
        return _of_files(spec, around)
    from tasks.adapters.sources.records import RecordSource

    return RecordSource(spec, _reader(spec, around), around.spools, salt)


def log_files(spec: SourceSpec, around: Surroundings) -> frozenset[str]:
    """Addresses of the files whose lines a log source reads; none where it is another kind of source."""
    if not spec.log or spec.kind == "requests":
        return frozenset()
    files = _of_files(spec.model_copy(update={"log": None}), around)
    return frozenset(item.address for item in files.listing().items)


def _of_files(spec: SourceSpec, around: Surroundings) -> Connector:
    if spec.kind == "local":
        return LocalFiles(spec, around.base, around.suffixes)
    if spec.kind == "http":
        from tasks.adapters.sources.http import HttpDocument

        return HttpDocument(spec, around.network, around.suffixes)
    from tasks.adapters.sources.objects import Objects

    return Objects(spec, around.suffixes)


def _reader(spec: SourceSpec, around: Surroundings) -> RecordReader:
    if spec.kind == "sql":
        from tasks.adapters.sources.sql import Query

        return Query(spec)
    if spec.kind == "requests":
        from tasks.adapters.sources.logs import RequestLog

        return RequestLog(spec)
    if spec.log:
        from tasks.adapters.sources.logs import LogFiles

        return LogFiles(spec, _of_files(spec.model_copy(update={"log": None}), around))
    from tasks.adapters.sources.http_pages import Pages

    return Pages(spec, around.network)
