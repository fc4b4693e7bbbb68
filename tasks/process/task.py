"""Prefect door of the stage: clean rows."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger

from tasks import progress
from tasks.adapters.store import Store
from tasks.contracts import Rows
from tasks.process.config import ProcessConfig
from tasks.process.stage import duplicate_report, duplicate_warnings, process_rows


@task(name="process", task_run_name="process {rows.counts.rows_in} rows")
def process(rows: Rows, config: ProcessConfig) -> Rows:
    """Normalise the rows, scan again for personal data, merge duplicates, quarantine contradictions."""
    with progress.stage("process"):
        store = Store.open()
        cleaned = process_rows(rows, config, store)
        report = duplicate_report(cleaned, store)
        table = [{"what": "in", "rows": cleaned.counts.rows_in}, {"what": "kept", "rows": cleaned.counts.kept}]
        table += [{"what": code, "rows": count} for code, count in cleaned.reasons.items()]
        table += [{"what": "pairs in conflict, kept", "rows": report.conflicts}]
        create_table_artifact(key="rows-cleaned", table=table, description="What happened to how many rows")
        for text in duplicate_warnings(report):
            get_run_logger().warning(text)
        return cleaned
