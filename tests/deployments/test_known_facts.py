"""What is known of data and model before a run, and what `config show` makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from deployments.config_file import load_config
from deployments.known_facts import known_facts
from tests.tasks.version.versions import some_rows, versioned


@pytest.fixture
def config(home: Path, tiny_model: Path, tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(
        f"project: proj\ndata:\n  sources:\n    - path: rows.jsonl\nmodel:\n  base: {tiny_model}\n"
        "train:\n  epochs: auto\n  rank: 2\n  alpha: 64\n",
        encoding="utf-8",
    )
    return path


def test_rows_of_the_newest_version_and_weights_of_the_model(config: Path) -> None:
    before = known_facts(load_config(config).config)
    assert before.rows is None
    assert before.parameters
    assert "no dataset version yet" in before.words
    versioned(some_rows(20))
    versioned(some_rows(40))
    found = known_facts(load_config(config).config)
    assert (found.rows, found.parameters) == (32, before.parameters)
    assert "ds://proj/main@1.1.0 with 32 training rows" in found.words


def test_a_model_that_is_not_here_is_not_fetched(config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TUNELOOP_MODELS_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for base in ("smollm2-135m", "hf:nobody/nothing@main", "hf:incomplete"):
        found = known_facts(load_config(config, [f"model.base={base}"]).config)
        assert found.parameters is None
        assert "not on this machine yet" in found.words
    assert not (tmp_path / "none").exists()


def shown(config: Path) -> Any:
    return json.loads(CliRunner().invoke(app, ["config", "show", str(config), "--json"]).stdout)


def test_config_show_works_values_out_once_the_data_is_known(config: Path) -> None:
    assert shown(config)["train.epochs"]["value"] == "auto"
    versioned(some_rows(40))
    epochs = {"value": 3.0, "origin": "config.yaml:8, auto: 32 rows are few: about 100 are seen"}
    assert shown(config)["train.epochs"] == epochs
    table = CliRunner().invoke(app, ["config", "show", str(config)])
    assert table.exit_code == 0
    assert "unusual: alpha 64 is not between half and four times rank 2" in table.output
