"""One training from references to the record of the trained adapter, kept in the store."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.adapters.store import Store, stage_key
from tasks.contracts import BaseModelRef, DatasetVersion, TrainedModel
from tasks.train.config import TrainConfig
from tasks.train.plan import Job
from tasks.train.recipe import Facts, Recipe, resolve_recipe
from tasks.train.supervise import train_in_process

REVISION = 2
STAGE = "train"
OnEvent = Callable[[dict[str, Any]], None]


def training(
    store: Store, dataset: DatasetVersion, base: BaseModelRef, config: TrainConfig, on_event: OnEvent
) -> TrainedModel:
    """The adapter of this dataset, base and configuration; trained if it is not there yet.

    A training that was cut short goes on from its last checkpoint: its work folder is named by the same key.
    """
    made: list[bool] = []
    recipe = resolve_recipe(config, Facts(rows=dataset.train_rows, parameters=base.parameters)).recipe
    key = stage_key(REVISION, dataset.digest, base.digest, recipe.learning_part())
    make = functools.partial(_make, store, key, dataset, base, recipe, on_event, made)
    trained = store.produce(STAGE, key, TrainedModel, make, resumable=True)
    return trained.model_copy(update={"new": bool(made)})


def _make(
    store: Store,
    key: str,
    dataset: DatasetVersion,
    base: BaseModelRef,
    recipe: Recipe,
    on_event: OnEvent,
    made: list[bool],
    work: Path,
) -> TrainedModel:
    rows = store.path(dataset.uri) / "train.jsonl"
    job = Job(base=base, rows=rows, dataset_digest=dataset.digest, config=recipe, work=work, key=key)
    log_file = store.root / "logs" / f"train-{key[:16]}.log"
    result = train_in_process(job, home=store.root, log_file=log_file, on_event=on_event)
    made.append(True)
    return TrainedModel(
        uri=store.uri(STAGE, key),
        adapter_digest=result.adapter_digest,
        base=base,
        dataset=dataset.address,
        dataset_digest=dataset.digest,
        quantization="nf4" if recipe.adapter == "qlora" else "none",
        steps=result.steps,
        rows_seen=result.rows_seen,
        rows_available=result.rows_available,
        tokens_per_second=result.tokens / max(result.seconds, 1e-6),
        final_loss=final_loss(result.curve),
        curve=result.curve,
        decisions=result.decisions,
        seconds=result.seconds,
        interruptions=result.interruptions,
    )


def final_loss(curve: Any) -> float:
    """Mean loss of the last tenth of the steps: a single batch says little."""
    last = curve[-max(1, len(curve) // 10) :]
    return float(sum(point.loss for point in last) / len(last))
