"""Prefect door of the stage: quality rules."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.artifacts import create_table_artifact

from tasks import progress
from tasks.adapters.store import Store
from tasks.contracts import BaseModelRef, Rows, ValidatedRows
from tasks.validate.config import ChecksConfig
from tasks.validate.stage import validate_rows


@task(name="validate", task_run_name="validate {rows.counts.kept} rows")
def validate(rows: Rows, checks: ChecksConfig, base: BaseModelRef) -> ValidatedRows:
    """Apply the rules of the Great Expectations project; broken rows go to quarantine."""
    with progress.stage("validate"):
        validated = validate_rows(rows, checks, base.tokenizer_digest, Path(base.path), Store.open())
        table = [{"what": name, "rows": count} for name, count in validated.rows.counts.model_dump().items()]
        table += [{"what": code, "rows": count} for code, count in validated.rows.reasons.items()]
        create_table_artifact(key="rows-validated", table=table, description=f"{validated.rules} rules evaluated")
        return validated
