"""Prefect doors of the stage: the base model, and the training."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from prefect import task
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE

from tasks import progress
from tasks.adapters.base_models import resolve
from tasks.adapters.store import Store
from tasks.contracts import BaseModelRef, DatasetVersion, TrainedModel
from tasks.train.config import ModelConfig, TrainConfig
from tasks.train.curve import curve_svg, svg_address, training_markdown
from tasks.train.stage import STAGE, training

_SECONDS_BETWEEN_UPDATES = 1.0


@task(name="resolve base model", task_run_name="resolve {model.base}", cache_policy=NO_CACHE)
def resolve_base(model: ModelConfig) -> BaseModelRef:
    """The base model on this machine, fetched and converted if it is not there yet."""
    with progress.stage("base model"):
        return resolve(model.base)


@task(name=STAGE, task_run_name="train on {dataset.address}", cache_policy=NO_CACHE)
def train(dataset: DatasetVersion, base: BaseModelRef, config: TrainConfig) -> TrainedModel:
    """The adapter of this dataset, base and configuration; trained if it is not there yet."""
    with progress.stage(STAGE):
        trained = training(Store.open(), dataset, base, config, TrainingProgress())
        create_markdown_artifact(training_markdown(trained), "training", f"Training on {trained.dataset}")
        create_image_artifact(svg_address(curve_svg(trained.curve)), "loss-curve", f"Loss on {trained.dataset}")
        return trained


class TrainingProgress:
    """Passes the trainer's events on: each to the listeners of this process, to Prefect at a bounded rate."""

    def __init__(self) -> None:
        self._artifact: UUID | None = None
        self._updated = 0.0

    def __call__(self, event: dict[str, Any]) -> None:
        if event["event"] == "progress":
            self._step(event)
        elif event["event"] in ("restart", "resumed"):
            text = f"{event['event']}: {', '.join(f'{k} {v}' for k, v in event.items() if k != 'event')}"
            progress.publish(progress.Progress(stage=STAGE, state="running", text=text))

    def _step(self, event: dict[str, Any]) -> None:
        text = f"loss {event['loss']:.3f}, {event['tokens_per_second']:.0f} tokens/s"
        said = {"text": text, "done": event["step"], "total": event["total"]}
        progress.publish(
            progress.Progress(
                stage=STAGE, state="running", loss=event["loss"], eta_seconds=event["eta_seconds"], **said
            )
        )
        last = event["step"] == event["total"]
        if last or time.monotonic() - self._updated >= _SECONDS_BETWEEN_UPDATES:
            self._updated = time.monotonic()
            self._show(100 * event["step"] / event["total"], text)

    def _show(self, percent: float, text: str) -> None:
        if self._artifact is None:
            found = create_progress_artifact(progress=percent, key="training-progress", description=text)
            self._artifact = found if isinstance(found, UUID) else None
        else:
            update_progress_artifact(self._artifact, progress=percent, description=text)
