"""Prefect doors of the stage: the base model, and the training."""

from __future__ import annotations

import functools
import time
from uuid import UUID

from prefect import runtime, task
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE

from tasks import progress
from tasks.adapters.base_models import resolve
from tasks.adapters.run_events import RunEvent
from tasks.adapters.runs import note_output
from tasks.adapters.store import Store
from tasks.contracts import BaseModelRef, DatasetVersion, TrainedModel
from tasks.train.config import ModelConfig, TrainConfig
from tasks.train.curve import curve_svg, svg_address, training_markdown
from tasks.train.live import LiveTraining, in_short
from tasks.train.stage import training
from tasks.train.unfinished import STAGE

_SECONDS_BETWEEN_UPDATES = 1.0


@task(name="resolve base model", task_run_name="resolve {model.base}", cache_policy=NO_CACHE)
def resolve_base(model: ModelConfig) -> BaseModelRef:
    """The base model on this machine, fetched and converted if it is not there yet."""
    with progress.stage("base model"):
        return resolve(model.base)


@task(name=STAGE, task_run_name="train on {dataset.address}", cache_policy=NO_CACHE)
def train(
    dataset: DatasetVersion, base: BaseModelRef, config: TrainConfig, model_name: str = "", resume: str = ""
) -> TrainedModel:
    """The adapter of this dataset, base and configuration; trained if it is not there yet.

    Args:
        model_name: experiment in MLflow that shows the metrics while it trains; empty: none.
        resume: key of the training that is to go on, or the beginning of it; another one is an error.
    """
    store = Store.open()
    with progress.stage(STAGE):
        link = functools.partial(_note, store, dataset.address)
        with LiveTraining(store.root, model_name, link, PrefectProgress()) as live:
            trained = training(store, dataset, base, config, live, resume)
        link(trained.uri.rsplit("/", 1)[-1])
        create_markdown_artifact(training_markdown(trained), "training", f"Training on {trained.dataset}")
        create_image_artifact(svg_address(curve_svg(trained.curve)), "loss-curve", f"Loss on {trained.dataset}")
        return trained


def _note(store: Store, dataset: str, key: str) -> None:
    """Note which training belongs to this flow run and to the one above it, so that `tuneloop runs` finds it."""
    runs = (runtime.flow_run.root_flow_run_id, runtime.flow_run.id)
    note_output([str(run) for run in runs if run], STAGE, store.uri(STAGE, key), dataset)


class PrefectProgress:
    """Shows events as the progress artifact of the task, at most once a second, the last step always."""

    def __init__(self) -> None:
        self._artifact: UUID | None = None
        self._updated = 0.0

    def __call__(self, event: RunEvent) -> None:
        last = event.step == event.total
        if not event.step or not event.total:
            return
        if last or time.monotonic() - self._updated >= _SECONDS_BETWEEN_UPDATES:
            self._updated = time.monotonic()
            loss = f"loss {event.loss:.3f}, " if event.loss is not None else ""
            self._show(100 * event.step / event.total, loss + in_short(event))

    def _show(self, percent: float, text: str) -> None:
        if self._artifact is None:
            found = create_progress_artifact(progress=percent, key="training-progress", description=text)
            self._artifact = found if isinstance(found, UUID) else None
        else:
            update_progress_artifact(self._artifact, progress=percent, description=text)
