"""The stage as a whole: bring the sources up to date, read what is new, list all rows in canonical order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks import progress
from tasks.adapters import audit, erasures, vault
from tasks.adapters.pseudonym_key import pseudonym_key
from tasks.adapters.row_files import Shard, finish_output
from tasks.adapters.sources.spec import SourceSpec
from tasks.adapters.sources.sync import Document, Sync, same_content_differs, sync
from tasks.adapters.store import Store, stage_key
from tasks.contracts import Rows
from tasks.digest import digest_of
from tasks.errors import DataRefused
from tasks.ingest.config import DataConfig, SourceConfig
from tasks.ingest.documents import DocumentRows, SourceReport, move_shards, read_documents
from tasks.ingest.files import Wanted
from tasks.ingest.formats import FORMATS, extension_of
from tasks.privacy.policy import privacy_record

REVISION = 4
REPORT = "sources.json"


def read_sources(data: DataConfig, base: Path, store: Store) -> Rows:
    """Rows of all sources; relative paths start at `base`.

    Keys hold contents and settings, not paths: moving the data does not read it again. What is gone from a source is
    not among the rows any more.

    Raises:
        UsageError, DataRefused: a source that cannot be read, with file, cause and remedy.
    """
    vault.expire()
    with sync(data.sources, base, FORMATS, settings_key=_settings) as found:
        _note_changes(found)
        erased = erasures.all_marks()
        wanted = [_wanted(document, data, erased, store) for document in found.documents]
        documents = _rows_of(wanted, store)
    return _listed(documents, wanted, found, data, store)


def _note_changes(found: Sync) -> None:
    """What a sync found new, changed or gone is an operation on data; one that found nothing is none."""
    changes = found.changes
    counts = {"added": len(changes.added), "changed": len(changes.changed), "removed": len(changes.removed)}
    if any(counts.values()):
        documents = digest_of(sorted(d.digest for d in found.documents))
        audit.record("source.synced", documents, details={**counts, "documents": len(found.documents)})


def _settings(spec: SourceSpec) -> object:
    assert isinstance(spec, SourceConfig)
    return spec.shape, spec.columns, spec.split, spec.privacy


def _wanted(document: Document, data: DataConfig, erased: frozenset[str], store: Store) -> Wanted:
    source = data.sources[document.source]
    privacy = privacy_record(source.privacy or data.privacy, pseudonym_key())
    key = stage_key(
        REVISION,
        privacy,
        sorted(erased),
        document.digest,
        extension_of(document.name),
        source.shape,
        dict(source.columns),
        source.split,
    )
    return Wanted(document, source, privacy, store.uri("document", key), erased)


def _rows_of(wanted: Sequence[Wanted], store: Store) -> list[DocumentRows]:
    """Rows of every document, in the order of the documents; those of earlier runs are taken as they are."""
    known = {w.uri: store.find_at(w.uri, DocumentRows) for w in wanted}
    missing = [w for w in wanted if known[w.uri] is None]
    for done, (one, rows, folder) in enumerate(read_documents(missing, pseudonym_key(), store)):
        known[one.uri] = _kept(one, rows, folder, store)
        text = f"{one.document.uri}: {sum(r.rows for r in rows.reports)} rows"
        progress.publish(
            progress.Progress(stage="ingest", state="running", text=text, done=done + 1, total=len(missing))
        )
    return [found for w in wanted if (found := known[w.uri]) is not None]


def _kept(wanted: Wanted, rows: DocumentRows, folder: Path, store: Store) -> DocumentRows:
    def make(target: Path) -> DocumentRows:
        move_shards(rows, folder, target)
        return rows

    stage, key = wanted.uri.removeprefix("store://").split("/", 1)
    return store.produce(stage, key, DocumentRows, make)


def _listed(
    documents: Sequence[DocumentRows], wanted: Sequence[Wanted], found: Sync, data: DataConfig, store: Store
) -> Rows:
    """All rows as one output, ordered by the digest of their source; of equal members of archives the first counts."""
    shards, reports, copies = _without_copies(wanted, documents)
    privacy = privacy_record(data.privacy, pseudonym_key())
    key = stage_key(REVISION, privacy, [[s.uri, s.file] for s in shards])
    passed_over = [*found.passed_over, *(p for d in documents for p in d.passed_over), *copies]

    def make(folder: Path) -> Rows:
        report = {"sources": [r.model_dump() for r in reports], "passed_over": passed_over}
        (folder / REPORT).write_text(json.dumps(report, ensure_ascii=False), encoding="utf-8")
        rows = finish_output(folder, store.uri("ingest", key), shards, privacy)
        if not rows.counts.kept:
            raise _nothing_usable(rows, wanted)
        return rows

    return store.produce("ingest", key, Rows, make)


@dataclass(frozen=True)
class _Content:
    """What one file came to, and the source that wanted it."""

    report: SourceReport
    shards: list[Shard]
    source: SourceConfig


def _without_copies(
    wanted: Sequence[Wanted], documents: Sequence[DocumentRows]
) -> tuple[list[Shard], list[SourceReport], list[str]]:
    """Every content once, ordered by its digest, and what was left out for it.

    Raises:
        UsageError: two sources hold the same content, one of them in an archive, and want it read differently.
    """
    taken: dict[tuple[str, int], _Content] = {}
    copies: list[str] = []
    for one, document in zip(wanted, documents, strict=True):
        rest = list(document.shards)
        for number, report in enumerate(document.reports):
            shards, rest = _split_off(rest, report.rows)
            mine = _Content(report, shards, one.source)
            first = taken.setdefault(_identity(report, number, one), mine)
            if first is not mine:
                copies.append(_copy_of(first, mine))
    found = [taken[key] for key in sorted(taken)]
    return [s for content in found for s in content.shards], [content.report for content in found], copies


def _identity(report: SourceReport, number: int, wanted: Wanted) -> tuple[str, int]:
    """Equal for equal content. Members that cannot be unpacked bear their archive's digest; their place differs."""
    return report.digest, number if report.digest == wanted.document.digest else 0


def _copy_of(first: _Content, second: _Content) -> str:
    if _settings(first.source) != _settings(second.source):
        raise same_content_differs(first.report.source, second.report.source)
    return f"{second.report.source}: the same content as {first.report.source}"


def _split_off(shards: list[Shard], rows: int) -> tuple[list[Shard], list[Shard]]:
    """The shards that hold the first so many rows, and the others."""
    count = 0
    while rows > 0:
        rows -= shards[count].rows
        count += 1
    return shards[:count], shards[count:]


def _nothing_usable(rows: Rows, wanted: Sequence[Wanted]) -> DataRefused:
    reasons = sorted(rows.reasons.items(), key=lambda item: (-item[1], item[0]))[:3]
    return DataRefused(
        "no row of the data can be used",
        where=", ".join(w.document.uri for w in wanted)[:300],
        why="; ".join(f"{count} x {code}" for code, count in reasons) or "no record was found",
        remedy="repair the rows, or say how to read them with data.sources[].shape and columns",
    )


def report_of(store: Store, rows: Rows) -> list[SourceReport]:
    """What each source was taken for."""
    report = json.loads((store.path(rows.uri) / REPORT).read_text(encoding="utf-8"))
    return [SourceReport.model_validate(r) for r in report["sources"]]
