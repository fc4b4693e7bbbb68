"""The complete flow through a real Prefect server, MLflow and trainer process, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.flows.commands import processes_of, run_json, tuneloop
from tests.tiny_project import make_project, make_rows, write_rows

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]


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
