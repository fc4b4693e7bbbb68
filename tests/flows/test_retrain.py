"""The complete flow through a real Prefect server, MLflow and trainer process, on a tiny model."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.embedded import prefect_server
from tests.flows.commands import processes_of, run_json, start, tuneloop
from tests.tiny_project import PERSONAL, make_project, make_rows, personal_row, write_rows

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, teachable_model: Path) -> tuple[Path, dict[str, Any]]:
    """A project whose first run is through."""
    config = make_project(tmp_path_factory.mktemp("first") / "project", teachable_model)
    outcome, done = run_json(config)
    assert outcome["status"] == "done", done.stderr
    return config, outcome


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, run_database: Path) -> Iterator[str]:
    """URL of a Prefect server that runs already: with one of its own, each run takes six seconds of a core more."""
    home = tmp_path_factory.mktemp("server")
    shutil.copytree(run_database, home / "prefect")
    with prefect_server(home) as endpoint:
        yield endpoint.api_url


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


def test_personal_data_is_nowhere_in_what_was_written(finished: tuple[Path, dict[str, Any]]) -> None:
    config, outcome = finished
    assert outcome["rows"]["redacted"] == 1
    files = [p for p in (config.parent / ".tuneloop").rglob("*") if p.is_file()]
    kinds = {p.relative_to(config.parent / ".tuneloop").parts[0] for p in files}
    assert {"store", "mlflow", "logs", "prefect", "runs", "state.db"} <= kinds
    found = [(p.name, value) for p in files for value in PERSONAL if value.encode() in p.read_bytes()]
    assert found == []


def test_the_same_again_trains_nothing(finished: tuple[Path, dict[str, Any]]) -> None:
    config, first = finished
    again, _ = run_json(config)
    assert again["status"] == "unchanged"
    assert again["exit_code"] == 0
    assert again["trained"] is False
    assert again["dataset"]["digest"] == first["dataset"]["digest"]
    assert again["model"]["version"] == 1


def test_a_changed_row_makes_a_new_version_and_trains(finished: tuple[Path, dict[str, Any]], server: str) -> None:
    config, first = finished
    data = config.parent / "train.jsonl"
    before = data.read_text(encoding="utf-8")
    try:
        write_rows(data, [*make_rows(63, seed=1), personal_row(), *make_rows(1, seed=9)])
        outcome, _ = run_json(config, server=server)
    finally:
        data.write_text(before, encoding="utf-8")
    assert outcome["dataset"]["version"] == "1.1.0"
    assert outcome["dataset"]["digest"] != first["dataset"]["digest"]
    assert outcome["trained"] is True


def test_a_refusal_is_an_answer_and_is_repeated(finished: tuple[Path, dict[str, Any]], server: str) -> None:
    config, _ = finished
    stricter = ("--set", "gate.min_rows=1000", "--set", "registry.model_name=strict")
    first, done = run_json(config, *stricter, server=server)
    assert (first["status"], first["exit_code"], done.returncode) == ("refused", 10, 10), done.stderr
    assert {r["rule"] for r in first["gate"]["reasons"] if not r["passed"]} == {"enough_rows"}
    assert first["model"] is None
    again, done = run_json(config, *stricter, server=server)
    assert (again["status"], done.returncode, again["trained"]) == ("refused", 10, False)
    assert again["gate"] == first["gate"]


@pytest.mark.long
def test_approval_waits_for_a_person(finished: tuple[Path, dict[str, Any]], server: str) -> None:
    config, _ = finished
    careful = ("--set", "release.approval=required", "--set", "registry.model_name=careful")
    outcome, done = run_json(config, *careful, server=server)
    assert (outcome["status"], done.returncode) == ("waiting_for_approval", 11), done.stderr
    assert outcome["model"]["alias"] == "challenger"
    arguments = ("--reason", "looked at it", "--config", str(config), "--json")
    promoted = tuneloop("models", "promote", "careful", "1", *arguments)
    assert json.loads(promoted.stdout)["champion"] == 1, promoted.stderr
    after, _ = run_json(config, *careful, server=server)
    assert after["status"] == "unchanged"
    assert after["model"]["alias"] == "champion"


@pytest.mark.slow
def test_interrupting_ends_with_130_and_the_command_to_go_on(finished: tuple[Path, dict[str, Any]]) -> None:
    config, _ = finished
    other = ("--set", "train.seed=5", "--set", "registry.model_name=interrupted")
    running = start("run", str(config), *other)
    assert running.stderr is not None
    said = ""
    for line in running.stderr:
        said += line
        if "version" in line:
            break
    time.sleep(4)
    os.killpg(running.pid, signal.SIGINT)
    said += running.stderr.read()
    assert running.wait(timeout=60) == 130, said
    assert f"run {config}" in said
    assert "Traceback" not in said
    assert processes_of(config.parent) == []
    outcome, _ = run_json(config, *other)
    assert outcome["status"] == "done"


@pytest.mark.slow
def test_two_identical_runs_at_once_join(finished: tuple[Path, dict[str, Any]]) -> None:
    config, _ = finished
    other = ("--set", "train.seed=6", "--set", "registry.model_name=joined", "--json")
    both = [start("run", str(config), *other) for _ in range(2)]
    ended = [process.communicate(timeout=1200) for process in both]
    outcomes = [json.loads(out) for out, _ in ended]
    assert sorted(o["status"] for o in outcomes) in (["done", "unchanged"], ["done", "done"]), ended
    assert {o["model"]["version"] for o in outcomes} == {1}
    assert any("is being worked on by" in err for _, err in ended), ended
