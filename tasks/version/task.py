"""Prefect door of the stage: an immutable dataset version."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks import progress
from tasks.adapters.store import Store
from tasks.contracts import BaseModelRef, DatasetVersion, Digest, ValidatedRows
from tasks.version.catalog import show
from tasks.version.config import SplitConfig
from tasks.version.content import CARD
from tasks.version.stage import make_version


@task(name="version", task_run_name="version {project}/{split.name}")
def version(
    validated: ValidatedRows, project: str, split: SplitConfig, policy: Digest, base: BaseModelRef
) -> DatasetVersion:
    """Split, check for leaks, write and number the version `ds://project/name@x.y.z`."""
    with progress.stage("version"):
        store = Store.open()
        dataset = make_version(validated, project, split, policy, base.tokenizer_digest, store)
        table = [{"what": name, "rows": count} for name, count in dataset.counts.model_dump().items()]
        table += [{"what": "train", "rows": dataset.train_rows}, {"what": "test", "rows": dataset.test_rows}]
        table += [{"what": code, "rows": count} for code, count in dataset.reasons.items()]
        create_table_artifact(key="rows-versioned", table=table, description=f"Rows of {dataset.address}")
        text = (store.path(dataset.uri) / CARD).read_text(encoding="utf-8")
        create_markdown_artifact(
            key="dataset-card", markdown=f"`{dataset.address}`\n\n{text}", description=dataset.address
        )
        return dataset


@task(name="find dataset", task_run_name="find {address}")
def dataset_at(address: str) -> DatasetVersion:
    """The dataset version that exists at an address `ds://project/name@x.y.z`."""
    dataset, _ = show(address, Store.open())
    return dataset
