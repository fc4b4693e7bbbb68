"""From documents to shards of rows: files are unpacked, looked at and cut into parts, and workers turn parts into rows.

Where a shard ends follows from the document's bytes alone. The rows of a document are a stage output of their own, so
a document that an earlier run read is not read again.
"""

from __future__ import annotations

import functools
import itertools
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from tasks.adapters import erasures, vault
from tasks.adapters.engine import Engine, open_engine
from tasks.adapters.row_files import Privacy, Shard, ShardWriter, total
from tasks.adapters.sources.copies import local_copy
from tasks.adapters.sources.sync import Document
from tasks.adapters.store import Store
from tasks.contracts import Record, Split
from tasks.digest import digest_file
from tasks.errors import DataRefused, UsageError
from tasks.ingest.archives import Unpacked, unpack
from tasks.ingest.config import SourceConfig
from tasks.ingest.formats import HEAD_BYTES, PACKED, format_of
from tasks.ingest.read import parts, read_records
from tasks.ingest.records import Part, Problem, RawRecord
from tasks.ingest.rows import Place, make_row, with_safe_names, without_person
from tasks.ingest.shape import ShapeDecision, describe_mapping, detect
from tasks.ingest.text import printable
from tasks.privacy.policy import redactor_of
from tasks.privacy.redact import Redactor

SAMPLE_RECORDS = 1000
_BATCH_DOCUMENTS = 256
_BATCH_BYTES = 1 << 30
_BYTES_WORTH_A_WORKER = 1 << 20
_EXPORT_AGAIN = "export the file again, or take it out of the sources"
_FIXED = {
    "sections": ShapeDecision("sections", ("the file is read as sections",), {"prompt": "prompt",
                                                                              "completion": "completion"}),
    "document": ShapeDecision("document", ("the file is read as document",), {}),
}  # fmt: skip


class SourceReport(Record):
    """What was found in one file, for people."""

    source: str
    digest: str
    shape: str
    why: str
    columns: str = Field("", description="Which column was taken for what.")
    rows: int
    kept: int
    quarantined: int


class DocumentRows(Record):
    """The rows of one document: the record of its stage output."""

    shards: tuple[Shard, ...]
    reports: tuple[SourceReport, ...]
    passed_over: tuple[str, ...] = ()


class Wanted(NamedTuple):
    """A document that is to be read, and how."""

    document: Document
    source: SourceConfig
    privacy: Privacy
    uri: str
    named_itself: bool
    erased: frozenset[str] = frozenset()
    """Marks of people whose rows are not taken in."""


@dataclass(frozen=True)
class _File:
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
class _Plan:
    file: _File
    decision: ShapeDecision
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class _Job:
    file: _File
    decision: ShapeDecision
    part: Part | None
    folder: str
    name: str
    keeps_originals: bool


@dataclass
class _Gathered:
    """What the batch came to for one document."""

    shards: list[Shard] = field(default_factory=list)
    reports: list[SourceReport] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)


def read_documents(wanted: Sequence[Wanted], key: bytes, store: Store) -> Iterator[tuple[Wanted, DocumentRows, Path]]:
    """Rows of documents, with the folder of their shards, which is gone when the next batch is asked for.

    Args:
        key: key of pseudonyms and subject hashes.

    Raises:
        DataRefused: a file that a source names itself is empty, binary or broken from its beginning on.
        UsageError: a file whose shape is ambiguous or unknown.
    """
    scratch = store.root / "work" / "ingest"
    scratch.mkdir(parents=True, exist_ok=True)
    size = sum(w.document.size for w in wanted)
    with open_engine(1 + size // _BYTES_WORTH_A_WORKER) as engine:
        for batch in _batches(wanted):
            with ExitStack() as copies, tempfile.TemporaryDirectory(dir=scratch) as folder:
                yield from _read_batch(batch, copies, Path(folder), key, engine)


def _batches(wanted: Sequence[Wanted]) -> Iterator[list[Wanted]]:
    batch: list[Wanted] = []
    size = 0
    for one in wanted:
        if batch and (len(batch) >= _BATCH_DOCUMENTS or size + one.document.size > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += one.document.size
    if batch:
        yield batch


def _read_batch(
    batch: Sequence[Wanted], copies: ExitStack, folder: Path, key: bytes, engine: Engine
) -> Iterator[tuple[Wanted, DocumentRows, Path]]:
    made = {w.uri: _Gathered() for w in batch}
    files = [
        file
        for w in batch
        for file in _files(w, copies.enter_context(local_copy(w.document)), folder, made[w.uri].passed_over)
    ]
    plans = list(engine.map(functools.partial(_plan, key), files))
    jobs = [job for number, plan in enumerate(plans) for job in _jobs(plan, folder, number)]
    written = engine.map(functools.partial(_write, key), jobs)
    for plan, shards in _by_plan(plans, written):
        gathered = made[plan.file.wanted.uri]
        gathered.shards += shards
        gathered.reports.append(_report(plan, shards))
    for w in batch:
        got = made[w.uri]
        rows = DocumentRows(shards=tuple(got.shards), reports=tuple(got.reports), passed_over=tuple(got.passed_over))
        yield w, rows, folder / w.document.digest


def _by_plan(plans: Sequence[_Plan], written: Iterable[list[Shard]]) -> Iterator[tuple[_Plan, list[Shard]]]:
    results = iter(written)
    counts = [len(plan.parts) or 1 for plan in plans]
    for plan, count in zip(plans, counts, strict=True):
        yield plan, [shard for shards in itertools.islice(results, count) for shard in shards]


def _files(wanted: Wanted, path: Path, folder: Path, passed_over: list[str]) -> Iterator[_File]:
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
        yield _File(wanted, str(path), document.uri, format or "", place)
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


def _member(wanted: Wanted, found: Unpacked, shown: str, packed: Place) -> _File:
    """A member of an archive; one that cannot be read is a row of the archive itself."""
    if found.path is None:
        place = packed.model_copy(update={"member": found.member})
        return _File(wanted, "", shown, "", place, found.problem, found.repair or _EXPORT_AGAIN, found.number)
    place = packed.model_copy(update={"member": found.member, "source_digest": digest_file(found.path)})
    return _File(wanted, str(found.path), shown, found.format, place)


def _declared(source: SourceConfig) -> Split | None:
    return None if source.split == "auto" else source.split


def _unreadable(wanted: Wanted, path: Path, place: Place, error: DataRefused) -> _File:
    if wanted.named_itself:
        raise error
    return _File(wanted, str(path), wanted.document.uri, "", place, _as_problem(error))


def _as_problem(error: DataRefused) -> Problem:
    return "unreadable_file", f"{error.what}: {error.why}" if error.why else error.what


def _plan(key: bytes, file: _File) -> _Plan:
    """Where to cut a file, and what its rows are: from its first records."""
    nothing = ShapeDecision(file.wanted.source.shape, ("the file cannot be read",), {"prompt": "", "completion": ""})
    if file.problem is not None:
        return _Plan(file, nothing, ())
    try:
        cut = tuple(parts(Path(file.path), file.format, file.where, file.wanted.source.shape))
        decision = _decide(file, cut, redactor_of(file.wanted.privacy, key))
    except DataRefused as error:
        if file.wanted.named_itself and not file.place.member:
            raise
        broken = replace(file, problem=_as_problem(error))
        return _Plan(broken, nothing, ())
    return _Plan(file, decision, cut)


def _decide(file: _File, cut: Sequence[Part], redactor: Redactor) -> ShapeDecision:
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
    sample = [with_safe_names(r, redactor) for r in itertools.islice(records, SAMPLE_RECORDS)]
    values = [r.value for r in sample if r.problem is None]
    if not any(isinstance(v, dict) for v in values):
        return ShapeDecision(source.shape, ("no record of the file can be read",), {"prompt": "", "completion": ""})
    return detect(values, source.shape, source.columns, file.where)


def _jobs(plan: _Plan, folder: Path, number: int) -> Iterator[_Job]:
    target = str(folder / plan.file.wanted.document.digest)
    for index, part in enumerate(plan.parts or (None,)):
        yield _Job(plan.file, plan.decision, part, target, f"{number:05d}-{index:05d}.jsonl", vault.is_on())


def _write(key: bytes, job: _Job) -> list[Shard]:
    """The rows of one part as one shard; with the vault switched on, originals that the rows do not show go there."""
    redactor = redactor_of(job.file.wanted.privacy, key)
    originals: list[vault.Original] = []
    with ShardWriter(Path(job.folder), job.file.wanted.uri, job.name) as writer:
        for record in _records(job):
            row = make_row(with_safe_names(record, redactor), job.file.place, job.decision, redactor)
            if erasures.is_erased(row, job.file.wanted.erased, key):
                writer.write(without_person(row))
                continue
            writer.write(row)
            if job.keeps_originals and (row.redactions or row.outcome == "quarantined"):
                text = printable(record.raw).encode()
                originals.append(vault.Original(row_id=row.row_id, text=text, subjects=row.subjects))
        if originals:
            vault.keep_all(originals)
        return [writer.shard().model_copy(update={"privacy": job.file.wanted.privacy})]


def _records(job: _Job) -> Iterator[RawRecord]:
    if job.part is None:
        problem = job.file.problem or ("empty", "the file holds no record")
        yield RawRecord(job.file.number, 0, 1, "", problem=problem, repair=job.file.repair)
        return
    yield from read_records(Path(job.file.path), job.file.format, job.file.where, job.part)


def _report(plan: _Plan, shards: Sequence[Shard]) -> SourceReport:
    counts = total(s.counts for s in shards)
    return SourceReport(
        source=plan.file.where,
        digest=plan.file.place.source_digest,
        shape=plan.decision.shape,
        why="; ".join(plan.decision.reasons) if plan.file.problem is None else plan.file.problem[1],
        columns=describe_mapping(plan.decision),
        rows=counts.rows_in,
        kept=counts.kept,
        quarantined=counts.quarantined,
    )


def move_shards(rows: DocumentRows, source: Path, folder: Path) -> None:
    """Bring the files of a document's shards into the work folder of its stage output."""
    for shard in rows.shards:
        shutil.move(source / shard.file, folder / shard.file)
