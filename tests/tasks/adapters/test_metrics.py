"""Live metrics in a real MLflow database: bounded, in one run with the registration, never in training's way."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.metrics import LiveMetrics, live_run
from tasks.adapters.registry_client import client, experiment
from tasks.adapters.registry_runs import Point, RegistryEntry, complete_run
from tasks.adapters.run_events import RunEvent

RUN = "e" * 64


def event(step: int, **more: Any) -> RunEvent:
    values = {"run": RUN, "writer": "flow", "seq": step, "at": datetime.now(UTC), "kind": "progress", "step": step}
    return RunEvent.model_validate({**values, "loss": 1.0 / step, **more})


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


def runs() -> list[Any]:
    return list(client().search_runs([experiment("desk")]))


def steps(run_id: str, key: str) -> list[int]:
    return [metric.step for metric in client().get_metric_history(run_id, key)]


def make_entry(folder: Path) -> RegistryEntry:
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    curve = tuple(Point(key="train.loss", step=step, value=1.0 / step) for step in (1, 2, 3))
    tags = {"adapter_digest": "a" * 64, "training": RUN}
    return RegistryEntry(
        name="desk", adapter_digest="a" * 64, description="d", params={}, metrics={"f1": 0.5}, curve=curve, tags=tags,
        texts={},
    )  # fmt: skip


def test_metrics_of_a_training_and_its_registration_are_one_run(registry_home: Path, tmp_path: Path) -> None:
    said: list[str] = []
    live = LiveMetrics("desk", RUN, {"dataset": "ds://p/main@1.0.0"}, said.append, seconds=0.05)
    live(event(1, validation_loss=0.5))
    wait_until(lambda: bool(runs()))
    live(event(2))
    live.close()
    (run,) = runs()
    assert (run.info.status, run.data.tags["training"]) == ("FINISHED", RUN)
    assert steps(run.info.run_id, "train.loss") == [1, 2]
    assert steps(run.info.run_id, "train.validation_loss") == [1]
    run_id, _ = complete_run(make_entry(tmp_path), tmp_path)
    assert run_id == run.info.run_id
    assert sorted(steps(run_id, "train.loss")) == [1, 2, 3]  # what was there is not written twice
    assert complete_run(make_entry(tmp_path), tmp_path)[0] == run_id
    assert len(runs()) == 1
    assert said == []


def test_a_later_start_goes_on_in_the_same_run(registry_home: Path) -> None:
    assert live_run("desk", {"training": RUN}) == live_run("desk", {"training": RUN})


def test_a_short_training_makes_no_run(registry_home: Path) -> None:
    live = LiveMetrics("desk", RUN, {}, print, seconds=60)
    live(event(1))
    live.close()
    assert runs() == []


def test_a_registry_that_cannot_be_used_costs_only_the_metrics(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELOOP_MLFLOW_URL", f"sqlite:////{home}/nowhere\0/mlflow.db".replace("\0", ""))
    (home / "nowhere").write_text("a file, no folder")
    said: list[str] = []
    live = LiveMetrics("desk", RUN, {}, said.append, seconds=0.01)
    live(event(1))
    wait_until(lambda: bool(said))
    live.close()
    assert len(said) == 1
    assert "not written to MLflow any more" in said[0]
