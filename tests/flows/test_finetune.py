"""What a training would be in vain for is found before it begins."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.flows.commands import tuneloop
from tests.tiny_model import make_tiny_model
from tests.tiny_project import make_project
from tests.tiny_release import NAME, champion


@pytest.mark.timeout(600)
@pytest.mark.long
def test_a_champion_whose_base_is_gone_is_found_before_the_training(
    registry_home: Path, run_database: Path, tiny_model: Path, tmp_path: Path
) -> None:
    old = make_tiny_model(tmp_path / "old", seed=5)
    champion(old, 1)
    shutil.rmtree(old)
    shutil.copytree(run_database, registry_home / "prefect", dirs_exist_ok=True)
    config = make_project(tmp_path / "project", tiny_model, name=NAME)
    trained = sorted((registry_home / "store" / "stages" / "train").iterdir())
    done = tuneloop("run", str(config), "--json", TUNELOOP_HOME=str(registry_home))
    assert done.returncode == 2, done.stderr
    error = json.loads(done.stdout)["error"]
    assert error["where"] == f"{NAME} version 1"
    assert "registry.model_name" in error["remedy"]
    assert sorted((registry_home / "store" / "stages" / "train").iterdir()) == trained
