"""Killed at any moment, the same command again ends well: one version, no torn file, no process left over."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from tests.flows.commands import processes_of, run_json, tuneloop
from tests.tiny_project import make_project

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1500)]


KILLS = ("train:running", "register:version created")
STAGES = ("ingest", "process", "validate", "version", "train", "evaluate", "gate", "register", "release")
EVERY_KILL = (
    *(f"{stage}:{moment}" for stage in STAGES for moment in ("started", "running", "finished")),
    *(f"register:{step}" for step in ("run created", "artifacts written", "model created", "version created")),
)


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(KILLS, id="two", marks=pytest.mark.long),
        pytest.param(EVERY_KILL, id="every", marks=[pytest.mark.slow, pytest.mark.timeout(3000)]),
    ],
)
def test_killed_and_run_again_it_ends_well(
    kills: tuple[str, ...], tmp_path: Path, teachable_model: Path, run_database: Path
) -> None:
    config = make_project(tmp_path / "project", teachable_model)
    shutil.copytree(run_database, config.parent / ".tuneloop" / "prefect")
    for kill in kills:
        killed = tuneloop(kill, "run", str(config), module="tests.flows.killer")
        assert killed.returncode in (-signal.SIGKILL, 0), f"{kill}: {killed.stderr}"
    outcome, done = run_json(config)
    assert outcome["status"] in ("done", "unchanged"), done.stderr
    assert outcome["model"]["version"] == 1
    assert outcome["dataset"]["version"] == "1.0.0"
    assert torn_outputs(config.parent / ".tuneloop") == []
    assert processes_of(config.parent) == []


def torn_outputs(home: Path) -> list[str]:
    """Stage outputs that are not what their markers say."""
    from tasks.adapters.store import Store

    store = Store(str(home / "store"), home)
    torn = []
    for marker in (home / "store" / "stages").glob("*/*/_COMPLETE.json"):
        stage, key = marker.parent.parent.name, marker.parent.name
        torn += [f"{stage}/{key}/{name}" for name in store.verify(store.uri(stage, key))]
    return torn
