"""From a row's origin back to the bytes of its source: found, proven by their digest, and read.

A file of this machine is opened where it lies; what lies elsewhere is copied for as long as it is looked at. What was
packed is unpacked again, under the same safety rules as when it was read. Nothing is left behind.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tasks.contracts import Digest, Record, RowOrigin
from tasks.digest import digest_file
from tasks.errors import TuneloopError

if TYPE_CHECKING:
    from tasks.ingest.config import SourceConfig

State = Literal["same", "changed", "missing", "elsewhere"]


class SourceBytes(Record):
    """What is at the source now."""

    state: State
    said: str = Field(description="The finding in words; no content.")
    opened: str = Field("", description="Path of the file that was opened; empty for a temporary copy.")
    record: bytes | None = Field(None, description="The record's bytes at the source, personal data included.")
    text: str | None = Field(None, description="The record as it was read at the source, personal data included.")


def read_source(
    origin: RowOrigin, shape: str, folders: Sequence[Path], sources: Sequence[SourceConfig] = ()
) -> SourceBytes:
    """Look whether the source still has the bytes a row was made from, and read them.

    Args:
        shape: of the row: a document is read in another way than sections.
        folders: where a relative path may start.
        sources: configured sources; what lies elsewhere can only be asked for with the one it came from.
    """
    wanted = origin.container_digest or origin.source_digest
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tuneloop-trace-")))
        there = list(_files(origin, wanted, folders))
        same = next((path for path in there if digest_file(path) == wanted), None)
        copy = None if same else _copied(wanted, sources, work)
        file = same or copy
        if file is None or (copy and digest_file(copy) != wanted):
            return _not_found(origin, str(there[0]) if there else "", found=bool(there or copy))
        member = _unpacked(file, origin, work) if origin.container_digest else file
        shown = str(same) if same else ""
        if member is None:
            return SourceBytes(
                state="changed", said="the archive is the same, but it does not unpack to the same file", opened=shown
            )
        record = _bytes(member, origin)
        text = _text(member, origin, shape) or (record.decode(errors="replace") if record else None)
    return SourceBytes(state="same", said="the source still has these bytes", opened=shown, record=record, text=text)


def _files(origin: RowOrigin, digest: Digest, folders: Sequence[Path]) -> Iterator[Path]:
    """Files of this machine that may be the source: of its name, and those that had its content when last read."""
    from tasks.adapters.sources.register import addresses_of

    named = [] if "://" in origin.source_uri else [folder / origin.source_uri for folder in folders]
    known = [Path(address) for _, address in addresses_of(digest) if address.startswith("/")]
    yield from (path for path in dict.fromkeys([*named, *known]) if path.is_file())


def _not_found(origin: RowOrigin, opened: str, *, found: bool) -> SourceBytes:
    if found:
        said = "the source has changed since: its SHA-256 is another one"
        return SourceBytes(state="changed", said=said, opened=opened)
    if "://" in origin.source_uri:
        said = "the source does not lie on this machine: name its configuration with --config to have it asked"
        return SourceBytes(state="elsewhere", said=said)
    return SourceBytes(state="missing", said="there is no file of this name or content on this machine any more")


def _copied(digest: Digest, sources: Sequence[SourceConfig], work: Path) -> Path | None:
    """A temporary copy of the document as one of the sources has it now; None where none of them has it."""
    from tasks.adapters.sources.connectors import Surroundings, connect, identity
    from tasks.adapters.sources.register import addresses_of
    from tasks.ingest.formats import FORMATS

    of_source = {identity(s, Path.cwd()): s for s in sources if s.kind != "local"}
    copy = None
    with ExitStack() as spools:
        around = Surroundings(Path.cwd(), FORMATS, spools=spools)
        for number, (source, address) in enumerate(addresses_of(digest)):
            if source in of_source:
                with suppress(TuneloopError):  # gone or not reachable: another address may still have it
                    connect(of_source[source], around).copy(address, work / f"copy-{number}")
                    copy = work / f"copy-{number}"
                    if digest_file(copy) == digest:
                        return copy
    return copy


def _unpacked(file: Path, origin: RowOrigin, work: Path) -> Path | None:
    """The member of the archive, if it still has the bytes that were read."""
    from tasks.ingest.archives import unpack

    folder = work / "unpacked"
    folder.mkdir()
    for found in unpack(file, Path(origin.source_uri).name, folder):
        if found.member == origin.member and found.path and digest_file(found.path) == origin.source_digest:
            return found.path
    return None


def _bytes(file: Path, origin: RowOrigin) -> bytes | None:
    """The bytes of the record; None where a record has none of its own, as in Parquet."""
    if not origin.byte_length:
        return None
    with file.open("rb") as stream:
        stream.seek(origin.byte_offset)
        return stream.read(origin.byte_length)


def _text(file: Path, origin: RowOrigin, shape: str) -> str | None:
    """The record as the reader of its format gives it; None where it finds no such record."""
    from tasks.ingest.formats import DOCUMENTS, HEAD_BYTES, format_of
    from tasks.ingest.read import parts, read_records

    name = origin.member or origin.source_uri
    try:
        with file.open("rb") as stream:
            form = format_of(Path(name).name, stream.read(HEAD_BYTES)) or ""
        as_document: Literal["auto", "document"] = "document" if form in DOCUMENTS and shape == "document" else "auto"
        before = [p for p in parts(file, form, name, as_document) if p.first_index <= origin.record_index]
        records = (r for part in before[-1:] for r in read_records(file, form, name, part))
        return next((r.raw for r in records if r.index == origin.record_index), None)
    except TuneloopError:
        return None
