"""Prefect door of the stage: from the sources to redacted rows."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.artifacts import create_table_artifact

from tasks import progress
from tasks.adapters.store import Store
from tasks.contracts import Rows
from tasks.ingest.config import DataConfig
from tasks.ingest.stage import read_sources, report_of


@task(name="ingest", task_run_name="ingest the sources")
def ingest(data: DataConfig) -> Rows:
    """Read every source into rows, personal data replaced before anything is written."""
    with progress.stage("ingest"):
        store = Store.open()
        rows = read_sources(data, Path.cwd(), store)
        report = [r.model_dump(exclude={"digest"}) for r in report_of(store, rows)]
        create_table_artifact(key="rows-read", table=report, description="What was read from which source")
        return rows
