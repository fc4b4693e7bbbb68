"""Killed, interrupted, run twice at once: the same command again ends well, and nothing is left over."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.flows.commands import processes_of, run_json, start, tuneloop
from tests.tiny_project import make_project

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]


def test_interrupting_ends_with_130_and_the_command_to_go_on(tmp_path: Path, tiny_model: Path) -> None:
    config = make_project(tmp_path / "project", tiny_model)
    running = start("run", str(config))
    assert running.stderr is not None
    said = ""
    for line in running.stderr:
        said += line
        if "train" in line:
            break
    time.sleep(1)
    os.killpg(running.pid, signal.SIGINT)
    said += running.stderr.read()
    assert running.wait(timeout=60) == 130, said
    assert f"run {config}" in said
    assert "Traceback" not in said
    assert processes_of(config.parent) == []
    outcome, _ = run_json(config)
    assert outcome["status"] == "done"


def test_two_identical_runs_at_once_join(tmp_path: Path, tiny_model: Path) -> None:
    config = make_project(tmp_path / "project", tiny_model)
    both = [start("run", str(config), "--json") for _ in range(2)]
    ended = [process.communicate(timeout=300) for process in both]
    outcomes = [json.loads(out) for out, _ in ended]
    assert sorted(o["status"] for o in outcomes) in (["done", "unchanged"], ["done", "done"]), ended
    assert {o["model"]["version"] for o in outcomes} == {1}
    assert len({o["dataset"]["digest"] for o in outcomes}) == 1
    assert any("working" in err or "worked on by" in err for _, err in ended)


KILLS = ("ingest:finished", "validate:running", "train:running", "register:version created", "release:running")
STAGES = ("ingest", "process", "validate", "version", "train", "evaluate", "gate", "register", "release")
EVERY_KILL = (
    *(f"{stage}:{moment}" for stage in STAGES for moment in ("started", "running", "finished")),
    *(f"register:{step}" for step in ("run created", "artifacts written", "model created", "version created")),
)


@pytest.mark.parametrize(
    "kills",
    [KILLS, pytest.param(EVERY_KILL, marks=[pytest.mark.slow, pytest.mark.timeout(3000)])],
    ids=["five", "every"],
)
def test_killed_and_run_again_it_ends_well(kills: tuple[str, ...], tmp_path: Path, tiny_model: Path) -> None:
    config = make_project(tmp_path / "project", tiny_model)
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
