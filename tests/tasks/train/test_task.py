"""The doors under a real Prefect server: what people see of a training, live and afterwards."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client

from tasks import progress
from tasks.adapters.run_events import EventLog
from tasks.adapters.runs import notes_of_runs
from tasks.adapters.store import Store
from tasks.contracts import TrainedModel
from tasks.train.config import ModelConfig
from tasks.train.task import resolve_base, train
from tests.deployments.gateway.test_events import receiver
from tests.tasks.train.test_stage import CONFIG, make_dataset


@flow
def training_flow(model: str) -> TrainedModel:
    """The part of the finetune flow that this stage has."""
    return train(make_dataset(Store.open()), resolve_base(ModelConfig(base=model)), CONFIG)


def artifacts() -> dict[str, Any]:
    with get_client(sync_client=True) as client:
        return {str(a.key): a for a in client.read_artifacts()}


def test_the_doors(prefect_for_doors: None, home: Path, tiny_model: Path) -> None:
    said: list[progress.Progress] = []
    with receiver(home) as url, pytest.MonkeyPatch.context() as patch, progress.listening(said.append):
        patch.setenv("TUNELOOP_EVENTS_URL", url)
        trained = training_flow(str(tiny_model))
    assert trained.new
    running = [p for p in said if p.stage == "train" and p.state == "running" and not p.remark]
    assert [(p.done, p.total) for p in running] == [(1, 2), (2, 2)]
    assert all(p.loss is not None and p.eta_seconds is not None for p in running)
    assert [(p.stage, p.state) for p in said if p.state == "finished"] == [
        ("base model", "finished"),
        ("train", "finished"),
    ]
    _the_log_has_what_both_said(home, trained.uri.rsplit("/", 1)[-1])
    deadline = time.monotonic() + 20
    while not {"training", "loss-curve", "training-progress"} <= artifacts().keys() and time.monotonic() < deadline:
        time.sleep(0.5)
    found = artifacts()
    assert "| adapter |" in found["training"].data
    assert found["loss-curve"].data.startswith("data:image/svg+xml,")
    assert found["training-progress"].type == "progress"


def _the_log_has_what_both_said(home: Path, key: str) -> None:
    """The flow wrote what it heard, the trainer sent the same over signed HTTP; no event is missing."""
    log = EventLog.of(home, key)
    told = log.read()
    by_flow = [e for e in told if e.writer == "flow"]
    by_trainer = [e for e in told if e.writer != "flow"]
    assert (by_flow[0].kind, by_flow[-1].kind) == ("begin", "finished")
    for events in (by_flow, by_trainer):
        steps = [(e.step, e.total, e.loss) for e in events if e.kind == "progress"]
        assert [step[:2] for step in steps] == [(1, 2), (2, 2)]
        assert steps == [(e.step, e.total, e.loss) for e in by_flow if e.kind == "progress"]
    assert log.gaps() == {}
    (noted,) = {each.outputs for each in notes_of_runs().values()}
    assert [(o.stage, o.output) for o in noted] == [("train", f"store://train/{key}")]
