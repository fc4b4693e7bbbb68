"""The four Prefect doors together, in one flow on a real (in-process) Prefect server."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from prefect import flow

from deployments.embedded import prefect_server
from tasks.contracts import BaseModelRef, DatasetVersion
from tasks.ingest.config import DataConfig, SourceConfig
from tasks.ingest.task import ingest
from tasks.process.config import ProcessConfig
from tasks.process.task import process
from tasks.validate.config import ChecksConfig
from tasks.validate.task import validate
from tasks.version.config import SplitConfig
from tasks.version.task import dataset_at, version


@flow
def prepare(data: DataConfig, base: BaseModelRef) -> DatasetVersion:
    rows = process(ingest(data), ProcessConfig())
    return version(validate(rows, ChecksConfig(), base), "proj", SplitConfig(), "policy", base)


def test_doors_in_a_flow(
    home: Path, run_database: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run_database, home / "prefect")
    monkeypatch.chdir(tmp_path)
    lines = [
        {"prompt": f"what about number {i * 7919}, {'abcdefg'[i % 7] * 9}", "completion": "an answer"}
        for i in range(60)
    ]
    (tmp_path / "x.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    base = BaseModelRef(name="tiny", path=str(tiny_model), digest="d", tokenizer_digest="t", parameters=1)
    data = DataConfig(sources=(SourceConfig(path="x.jsonl"),))
    with prefect_server(home):
        made = prepare(data, base)
        assert prepare(data, base) == made.model_copy(update={"new": False})
        assert flow(lambda: dataset_at(made.address), name="find")() == made.model_copy(update={"new": False})
    assert made.counts.rows_in == 60
    assert made.train_rows + made.test_rows == made.counts.kept


def test_doors_load_nothing_heavy() -> None:
    code = """
        import sys
        import tasks.ingest.task, tasks.process.task, tasks.validate.task, tasks.version.task
        heavy = {"torch", "transformers", "great_expectations", "presidio_analyzer", "sklearn", "pandas", "scipy"}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
