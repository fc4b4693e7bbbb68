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
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from tasks.adapters import erasures, vault
from tasks.adapters.engine import Engine, open_engine
from tasks.adapters.row_files import Shard, ShardWriter, total
from tasks.adapters.sources.copies import local_copy
from tasks.adapters.store import Store
from tasks.contracts import Record, Row
from tasks.ingest.files import File, Plan, Wanted, files_of, plan_of
from tasks.ingest.read import read_records
from tasks.ingest.records import Part, RawRecord
from tasks.ingest.rows import make_row, subjects_in, with_safe_names, without_person
from tasks.ingest.shape import ShapeDecision, describe_mapping
from tasks.ingest.text import printable
from tasks.privacy.policy import redactor_of
from tasks.privacy.redact import Redactor

_BATCH_DOCUMENTS = 256
_BATCH_BYTES = 1 << 30
_WORTH_A_WORKER = 1 << 20  # bytes; documents take longer than rows


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


@dataclass(frozen=True)
class _Job:
    file: File
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
    with open_engine(1 + size // _WORTH_A_WORKER, size, _WORTH_A_WORKER) as engine:
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
        for file in files_of(w, copies.enter_context(local_copy(w.document)), folder, made[w.uri].passed_over)
    ]
    plans = list(engine.map(functools.partial(plan_of, key), files))
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


def _by_plan(plans: Sequence[Plan], written: Iterable[list[Shard]]) -> Iterator[tuple[Plan, list[Shard]]]:
    results = iter(written)
    counts = [len(plan.parts) or 1 for plan in plans]
    for plan, count in zip(plans, counts, strict=True):
        yield plan, [shard for shards in itertools.islice(results, count) for shard in shards]


def _jobs(plan: Plan, folder: Path, number: int) -> Iterator[_Job]:
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
                originals += _originals(record, row, redactor, job.file.wanted.erased)
        if originals:
            vault.keep_all(originals)
        return [writer.shard().model_copy(update={"privacy": job.file.wanted.privacy})]


def _originals(record: RawRecord, row: Row, redactor: Redactor, erased: frozenset[str]) -> list[vault.Original]:
    """What the vault keeps of a record: nothing where a person is in it whose erasure was asked for."""
    subjects = {*row.subjects, *subjects_in(record.raw, redactor)}
    if not erased.isdisjoint(map(erasures.mark, subjects)):
        return []
    text = printable(record.raw).encode()
    return [vault.Original(row_id=row.row_id, text=text, subjects=tuple(sorted(subjects)))]


def _records(job: _Job) -> Iterator[RawRecord]:
    if job.part is None:
        problem = job.file.problem or ("empty", "the file holds no record")
        yield RawRecord(job.file.number, 0, 1, "", problem=problem, repair=job.file.repair)
        return
    yield from read_records(Path(job.file.path), job.file.format, job.file.where, job.part)


def _report(plan: Plan, shards: Sequence[Shard]) -> SourceReport:
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
