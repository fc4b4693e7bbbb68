"""The stage as a whole: find the sources, read them once, write redacted rows into the store."""

from __future__ import annotations

import json
from pathlib import Path

from tasks import progress
from tasks.adapters.row_files import Privacy, write_output
from tasks.adapters.store import Store, stage_key
from tasks.contracts import Rows
from tasks.ingest.config import DataConfig
from tasks.ingest.rows import LoadedFile, SourceReport, load, rows_of
from tasks.ingest.sources import Found, find_files
from tasks.privacy.redact import Redactor

REVISION = 1
REPORT = "sources.json"


def read_sources(data: DataConfig, base: Path, store: Store) -> Rows:
    """Rows of all sources; relative paths start at `base`.

    The key holds contents and settings, not paths: moving the data does not read it again.

    Raises:
        UsageError, DataRefused: a source that cannot be read, with file, cause and remedy.
    """
    found = find_files(data.sources, base)
    loaded, copies = load(found.files)
    key = stage_key(REVISION, data.privacy, [_identity(file) for file in loaded])

    def make(folder: Path) -> Rows:
        privacy = Privacy(entities=data.privacy.entities, phone_regions=data.privacy.phone_regions)
        redactor = Redactor(privacy.entities, privacy.phone_regions)
        rows, reports = rows_of(loaded, redactor, _publish)
        (folder / REPORT).write_text(_report_json(reports, found, copies), encoding="utf-8")
        return write_output(folder, store.uri("ingest", key), rows, privacy)

    return store.produce("ingest", key, Rows, make)


def report_of(store: Store, rows: Rows) -> list[SourceReport]:
    """What each source was taken for."""
    report = json.loads((store.path(rows.uri) / REPORT).read_text(encoding="utf-8"))
    return [SourceReport.model_validate(r) for r in report["sources"]]


def _identity(loaded: LoadedFile) -> list[object]:
    config = loaded.file.config
    return [loaded.digest, loaded.file.format, config.shape, dict(config.columns), config.split]


def _publish(done: int, total: int) -> None:
    progress.publish(progress.Progress(stage="ingest", state="running", text="sources", done=done, total=total))


def _report_json(reports: list[SourceReport], found: Found, copies: list[str]) -> str:
    passed_over = [*found.ignored, *copies]
    return json.dumps({"sources": [r.model_dump() for r in reports], "passed_over": passed_over}, ensure_ascii=False)
