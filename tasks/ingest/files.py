"""From a document to the files in it that hold records, and to a plan for each: its shape, and where it is cut."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from tasks.adapters.row_files import Privacy
from tasks.adapters.sources.sync import Document
from tasks.contracts import Split
from tasks.digest import digest_file
from tasks.errors import DataRefused, UsageError
from tasks.ingest.archives import Unpacked, unpack
from tasks.ingest.config import SourceConfig
from tasks.ingest.convert import has_damaged_name
from tasks.ingest.formats import HEAD_BYTES, PACKED, format_of
from tasks.ingest.read import parts, read_records
from tasks.ingest.records import Part, Problem
from tasks.ingest.rows import Place, with_safe_names
from tasks.ingest.shape import ShapeDecision, detect
from tasks.privacy.policy import redactor_of
from tasks.privacy.redact import Redactor

SAMPLE_RECORDS = 1000
_EXPORT_AGAIN = "export the file again, or take it out of the sources"
_FIXED = {
    "sections": ShapeDecision("sections", ("the file is read as sections",), {"prompt": "prompt",
                                                                              "completion": "completion"}),
    "document": ShapeDecision("document", ("the file is read as document",), {}),
}  # fmt: skip


class Wanted(NamedTuple):
    """A document that is to be read, and how."""

    document: Document
    source: SourceConfig
    privacy: Privacy
    uri: str
    erased: frozenset[str] = frozenset()
    """Marks of people whose rows are not taken in."""


@dataclass(frozen=True)
class File:
    """A file of this machine that holds records: a document, or a member of one."""

    wanted: Wanted
    path: str
    where: str
    format: str
    place: Place
    problem: Problem | None = None
    """Why it cannot be read; it becomes one row in quarantine, with the number as its index."""
    repair: str = _EXPORT_AGAIN
    number: int = 0


@dataclass(frozen=True)
class Plan:
    file: File
    decision: ShapeDecision
    parts: tuple[Part, ...]


def files_of(wanted: Wanted, path: Path, folder: Path, passed_over: list[str]) -> Iterator[File]:
    """The document itself, or the members of the archive that it is."""
    document = wanted.document
    place = Place(source_uri=document.uri, source_digest=document.digest, declared_split=_declared(wanted.source))
    try:
        with path.open("rb") as stream:
            format = format_of(document.name, stream.read(HEAD_BYTES))
    except DataRefused as error:
        yield _unreadable(wanted, path, place, error)
        return
    if format not in PACKED:
        yield File(wanted, str(path), document.uri, format or "", place)
        return
    packed = place.model_copy(update={"container_digest": document.digest})
    work = folder / "unpacked" / document.digest
    work.mkdir(parents=True)
    for found in unpack(path, document.name, work):
        shown = f"{document.uri}!/{found.member}" if found.member else document.uri
        if found.passed_over:
            passed_over.append(f"{shown}: {found.passed_over}")
        else:
            yield _member(wanted, found, shown, packed)


def _member(wanted: Wanted, found: Unpacked, shown: str, packed: Place) -> File:
    """A member of an archive; one that cannot be read is a row of the archive itself."""
    if found.path is None:
        place = packed.model_copy(update={"member": found.member})
        return File(wanted, "", shown, "", place, found.problem, found.repair or _EXPORT_AGAIN, found.number)
    place = packed.model_copy(update={"member": found.member, "source_digest": digest_file(found.path)})
    return File(wanted, str(found.path), shown, found.format, place)


def _declared(source: SourceConfig) -> Split | None:
    return None if source.split == "auto" else source.split


def _unreadable(wanted: Wanted, path: Path, place: Place, error: DataRefused) -> File:
    if wanted.document.explicit:
        raise error
    return File(wanted, str(path), wanted.document.uri, "", place, _as_problem(error))


def _as_problem(error: DataRefused) -> Problem:
    return "unreadable_file", f"{error.what}: {error.why}" if error.why else error.what


def plan_of(key: bytes, file: File) -> Plan:
    """Where to cut a file, and what its rows are: from its first records."""
    nothing = ShapeDecision(file.wanted.source.shape, ("the file cannot be read",), {"prompt": "", "completion": ""})
    if file.problem is not None:
        return Plan(file, nothing, ())
    try:
        cut = tuple(parts(Path(file.path), file.format, file.where, file.wanted.source.shape))
        decision = _decide(file, cut, redactor_of(file.wanted.privacy, key))
    except DataRefused as error:
        if file.wanted.document.explicit and not file.place.member:
            raise
        broken = replace(file, problem=_as_problem(error))
        return Plan(broken, nothing, ())
    return Plan(file, decision, cut)


def _decide(file: File, cut: Sequence[Part], redactor: Redactor) -> ShapeDecision:
    source = file.wanted.source
    fixed = next((part.shape for part in cut if part.shape != "auto"), "")
    if fixed:
        if source.columns:
            raise UsageError(
                "a document has no columns",
                where=file.where,
                remedy="take out data.sources[].columns for this file",
            )
        return _FIXED[fixed]
    records = (r for part in cut for r in read_records(Path(file.path), file.format, file.where, part))
    # Records that say nothing are passed by, however many they are: what stands behind them decides.
    readable = (r for r in records if r.problem is None and isinstance(r.value, dict) and not has_damaged_name(r.value))
    values = [with_safe_names(r, redactor).value for r in itertools.islice(readable, SAMPLE_RECORDS)]
    if not values:
        return ShapeDecision(source.shape, ("no record of the file can be read",), {"prompt": "", "completion": ""})
    return detect(values, source.shape, source.columns, file.where)
