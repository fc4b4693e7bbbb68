"""A home with runs of a real embedded Prefect server, trainings in its store and their events; without training."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.adapters.run_events import EventLog, RunEvent
from tasks.adapters.runs import note_output
from tasks.adapters.store import Store
from tasks.contracts import BaseModelRef, LossPoint, TrainedModel, ValidationPoint
from tasks.errors import TrainingFailed

ADDRESS = "ds://desk/main@1.0.0"
BASE = BaseModelRef(name="tiny", path="/m", digest="b" * 64, tokenizer_digest="f" * 64, parameters=1000)
GOOD, BETTER, REFUSED, BROKEN = (digit * 64 for digit in "1234")


def make_training(key: str, rate: float, looks: tuple[float, ...], **more: Any) -> TrainedModel:
    """A finished training in the store of the settings; a look at validation every tenth step."""
    store = Store.open()
    seen = {10 * (i + 1): loss for i, loss in enumerate(looks)}
    curve = tuple(
        LossPoint(
            step=i,
            loss=0.2 + 2 * math.exp(-i * rate * 500) + 0.05 * math.sin(3 * i),
            learning_rate=rate,
            tokens=700 * i,
            validation_loss=seen.get(i),
        )
        for i in range(1, 61)
    )
    values: dict[str, Any] = {
        "uri": store.uri("train", key), "adapter_digest": key, "base": BASE, "dataset": ADDRESS,
        "dataset_digest": "d" * 64, "quantization": "nf4", "steps": 60, "rows_seen": 480, "rows_available": 480,
        "tokens_per_second": 480.0, "final_loss": curve[-1].loss, "curve": curve, "seconds": 90.0,
        "decisions": {"compile": "off: a short run"},
        "validation": tuple(ValidationPoint(step=step, loss=loss) for step, loss in seen.items()),
    }  # fmt: skip
    trained = TrainedModel.model_validate(values | more)

    def make(folder: Path) -> TrainedModel:
        (folder / "adapter_model.safetensors").write_bytes(key.encode())
        return trained

    return store.produce("train", key, TrainedModel, make)


def make_events(home: Path, key: str, steps: int, *endings: str) -> None:
    """The event log of a training that came so far."""

    def event(seq: int, kind: str, **more: Any) -> RunEvent:
        values = {"run": key, "writer": "flow", "seq": seq, "at": datetime.now(UTC), "kind": kind, **more}
        return RunEvent.model_validate(values)

    def progress(step: int) -> RunEvent:
        known = {"step": step, "total": 60, "loss": 2 / step, "tokens": 700 * step, "seconds": step, "cost": step / 100}
        return event(1 + step, "progress", stage="training", **known)

    told = [event(1, "begin", details={"dataset": ADDRESS, "recipe.rank": 8, "estimate_seconds": 60.0})]
    told += [progress(step) for step in range(1, steps + 1)]
    told += [event(2 + steps + i, kind, stage="recovering", text=f"it {kind}") for i, kind in enumerate(endings)]
    EventLog.of(home, key).append(told)


def make_runs(home: Path) -> dict[str, str]:
    """Runs of every kind on the server that is running: what they are called here → id."""
    ids: dict[str, str] = {}
    make_training(GOOD, 2e-4, (0.9, 0.6, 0.5, 0.48))
    make_training(BETTER, 4e-4, (0.8, 0.5, 0.41, 0.44), best_step=30, interruptions=2)
    make_training(REFUSED, 1e-4, (1.1, 0.9, 0.8))
    make_events(home, GOOD, 60, "finished")
    make_events(home, BROKEN, 7, "failed")
    from prefect import flow, runtime
    from prefect.states import Completed

    @flow(name="finetune", flow_run_name="finetune {name}")
    def finetune(name: str, config: dict[str, Any], key: str, end: str = "") -> Any:
        ids[name] = str(runtime.flow_run.id)
        note_output([ids[name]], "train", Store.open().uri("train", key), ADDRESS)
        if end == "failed":
            raise TrainingFailed("the trainer ended unexpectedly", code="TL-TRAIN-NAN")
        return Completed(name="Refused", message="the gate refused") if end == "refused" else None

    def config(rate: float, rank: int) -> dict[str, Any]:
        return {"project": "desk", "model": {"base": "tiny"}, "train": {"learning_rate": rate, "rank": rank}}

    finetune("good", config(2e-4, 16), GOOD, return_state=True)
    finetune("better", config(4e-4, 16), BETTER, return_state=True)
    finetune("turned down", config(2e-4, 8), REFUSED, "refused", return_state=True)
    finetune("broken", config(2e-4, 32), BROKEN, "failed", return_state=True)
    return ids
