"""`tuneloop estimate`: before a dataset is prepared, with one, and where it would be refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from tests.tasks.version.versions import some_rows, versioned

CONFIG = """\
project: proj
data:
  sources:
    - path: rows.jsonl
model:
  base: {base}
train:
  adapter: lora
  epochs: 2
"""


@pytest.fixture
def config(home: Path, tmp_path: Path, tiny_model: Path) -> Path:
    rows = [{"prompt": f"Where is my order {i}? " * 4, "completion": "On its way."} for i in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG.format(base=tiny_model), encoding="utf-8")
    return file


def call(*arguments: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, ["estimate", *arguments, "--json"])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def test_without_a_dataset_it_is_rough_and_says_so(config: Path) -> None:
    found = call(str(config))
    assert (found["status"], found["rough"], found["rows"]) == ("done", True, 40)
    assert "by the size of the source files" in found["data"]
    assert found["steps"] == 6
    assert found["here"]["seconds"] > 0
    assert {kind["kind"] for kind in found["kinds"]} >= {"cpu", "L4", "H200-141GB"}


def test_with_a_dataset_it_counts_tokens_and_tells_when_it_is_too_dear(config: Path, home: Path) -> None:
    versioned(some_rows(20))
    found = call(str(config), "--dataset", "ds://proj/main@1.0.0", "--set", "train.max_cost=1e-9", code=40)
    assert found["status"] == "refused"
    assert "may cost" in found["refusal"]
    assert found["data"].startswith("ds://proj/main@1.0.0 with ")
    assert 0 < found["learned_share"] < 1
    assert found["fits"]
    assert [path.name for path in home.glob("tuneloop-estimate-*")] == []


def test_the_table_is_for_people(config: Path) -> None:
    done = CliRunner().invoke(app, ["estimate", str(config)])
    assert done.exit_code == 0, done.output
    for text in ("memory of a process", "weights", "on demand", "spot", "rough", "H200-141GB", "is the cheapest"):
        assert text in done.output
