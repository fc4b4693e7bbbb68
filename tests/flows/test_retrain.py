"""The complete flow through a real Prefect server, MLflow and trainer process, on a tiny model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.tiny_project import make_project, make_rows, write_rows

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]
ROOT = Path(__file__).parent.parent.parent


def tuneloop(*arguments: str, module: str = "deployments.cli", **popen: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    environment = {k: v for k, v in os.environ.items() if k not in ("TUNELOOP_HOME", "PREFECT_HOME", "PREFECT_API_URL")}
    return subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**environment, "CI": "true"},
        timeout=300,
        **popen,
    )


def run_json(config: Path, *more: str) -> tuple[dict[str, Any], subprocess.CompletedProcess[str]]:
    done = tuneloop("run", str(config), "--json", *more)
    assert done.stdout, done.stderr
    return json.loads(done.stdout), done


def processes_of(folder: Path) -> list[str]:
    """Command lines of live processes that have to do with a folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ", "status"]):
        about = " ".join(process.info["cmdline"] or []) + str((process.info["environ"] or {}).get("TUNELOOP_HOME", ""))
        if str(folder) in about and process.pid != os.getpid() and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(" ".join(process.info["cmdline"] or []))
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Path, dict[str, Any]]:
    """A project whose first run is through."""
    config = make_project(tmp_path_factory.mktemp("first") / "project", tiny_model)
    outcome, done = run_json(config)
    assert outcome["status"] == "done", done.stderr
    return config, outcome


def test_the_outcome_says_everything(finished: tuple[Path, dict[str, Any]]) -> None:
    config, outcome = finished
    assert outcome["exit_code"] == 0
    assert outcome["trained"] is True
    assert outcome["dataset"]["address"] == "ds://tiny/main@1.0.0"
    rows = outcome["rows"]
    assert rows["in"] == rows["kept"] + rows["merged"] + rows["quarantined"] == 104
    assert outcome["evaluation"]["tuned"]["exact_match"] > outcome["evaluation"]["base"]["exact_match"]
    assert outcome["gate"]["passed"] is True
    assert [outcome["model"][k] for k in ("name", "version", "alias")] == ["tiny", 1, "champion"]
    assert {"ingest", "process", "validate", "version", "train", "evaluate", "gate", "register", "release"} <= set(
        outcome["seconds"]
    )
    assert outcome["run_url"] is None
    assert len(outcome["next"]) == 3
    assert Path(outcome["summary"]).read_text(encoding="utf-8").startswith("<!doctype html>")
    assert processes_of(config.parent) == []


def test_the_same_again_trains_nothing(finished: tuple[Path, dict[str, Any]]) -> None:
    config, first = finished
    again, _ = run_json(config)
    assert again["status"] == "unchanged"
    assert again["exit_code"] == 0
    assert again["trained"] is False
    assert again["dataset"]["digest"] == first["dataset"]["digest"]
    assert again["model"]["version"] == 1


def test_a_changed_row_makes_a_new_version_and_trains(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    config, first = finished
    data = config.parent / "train.jsonl"
    before = data.read_text(encoding="utf-8")
    try:
        write_rows(data, [*make_rows(64, seed=1), *make_rows(1, seed=9)])
        outcome, _ = run_json(config)
    finally:
        data.write_text(before, encoding="utf-8")
    assert outcome["dataset"]["version"] == "1.1.0"
    assert outcome["dataset"]["digest"] != first["dataset"]["digest"]
    assert outcome["trained"] is True


def test_a_refusal_is_an_answer_and_is_repeated(tmp_path: Path, tiny_model: Path) -> None:
    config = make_project(tmp_path / "project", tiny_model, gate="  min_rows: 1000\n")
    first, done = run_json(config)
    assert (first["status"], first["exit_code"], done.returncode) == ("refused", 10, 10), done.stderr
    assert first["gate"]["passed"] is False
    assert {r["rule"] for r in first["gate"]["reasons"] if not r["passed"]} == {"enough_rows"}
    assert first["model"] is None
    again, done = run_json(config)
    assert (again["status"], done.returncode, again["trained"]) == ("refused", 10, False)
    assert again["gate"] == first["gate"]


def test_approval_waits_for_a_person(tmp_path: Path, tiny_model: Path) -> None:
    config = make_project(tmp_path / "project", tiny_model, extra="release:\n  approval: required\n")
    outcome, done = run_json(config)
    assert (outcome["status"], done.returncode) == ("waiting_for_approval", 11), done.stderr
    assert outcome["model"]["alias"] == "challenger"
    promoted = tuneloop("models", "promote", "tiny", "1", "--reason", "looked at it", "--config", str(config), "--json")
    assert json.loads(promoted.stdout)["champion"] == 1, promoted.stderr
    after, _ = run_json(config)
    assert after["status"] == "unchanged"


def test_interrupting_ends_with_130_and_the_command_to_go_on(tmp_path: Path, tiny_model: Path) -> None:
    config = make_project(tmp_path / "project", tiny_model)
    environment = {k: v for k, v in os.environ.items() if k not in ("TUNELOOP_HOME", "PREFECT_HOME")}
    running = subprocess.Popen(
        [sys.executable, "-m", "deployments.cli", "run", str(config)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "CI": "true"},
        start_new_session=True,
    )
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
    environment = {k: v for k, v in os.environ.items() if k not in ("TUNELOOP_HOME", "PREFECT_HOME")}
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "deployments.cli", "run", str(config), "--json"],
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment, "CI": "true"},
        )
        for _ in range(2)
    ]
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
