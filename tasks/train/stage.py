"""One training from references to the record of the trained adapter, kept in the store."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.adapters.store import Store, stage_key
from tasks.contracts import BaseModelRef, DatasetVersion, TrainedModel
from tasks.train.checkpoints import Checkpoints
from tasks.train.config import TrainConfig
from tasks.train.estimate.around import known_before, local_price, note_actual
from tasks.train.methods import quantization_of
from tasks.train.plan import Job
from tasks.train.recipe import Facts, Recipe, resolve_recipe
from tasks.train.start import Start, find_start
from tasks.train.supervise import train_in_process
from tasks.train.unfinished import STAGE, Begun, begin, begun_of, check_resume, unfinished

REVISION = 4
OnEvent = Callable[[dict[str, Any]], None]


def training(
    store: Store, dataset: DatasetVersion, base: BaseModelRef, config: TrainConfig, on_event: OnEvent, resume: str = ""
) -> TrainedModel:
    """The adapter of this dataset, base and configuration; trained if it is not there yet.

    A training that was cut short goes on from its last checkpoint: its work folder is named by the same key.

    Args:
        resume: key of the training that is to go on, or the beginning of it; empty: whichever it is.

    Raises:
        ResumeMismatch: the training to be resumed has other data, another base model or another configuration.
    """
    made: list[bool] = []
    resolved = resolve_recipe(config, Facts(rows=dataset.train_rows, parameters=base.parameters))
    recipe = resolved.recipe
    start = find_start(recipe, base)
    key = stage_key(REVISION, dataset.digest, base.digest, recipe.learning_part(), *([start.digest] if start else []))
    begun = begun_of(key, dataset, base, recipe, start.digest if start else "")
    if resume:
        check_resume(resume, unfinished(store), begun, store.find(STAGE, key, TrainedModel) is not None)
    make = functools.partial(_make, store, begun, dataset, base, recipe, start, on_event, made)
    trained = store.produce(STAGE, key, TrainedModel, make, resumable=True)
    _checkpoints(store, key, on_event).remove_all()
    return trained.model_copy(update={"new": bool(made), "recipe": resolved.notes()})


def _make(
    store: Store,
    begun: Begun,
    dataset: DatasetVersion,
    base: BaseModelRef,
    recipe: Recipe,
    start: Start | None,
    on_event: OnEvent,
    made: list[bool],
    work: Path,
) -> TrainedModel:
    key = begun.key
    known = known_before(store, key, work, recipe, base)
    job = _job(store, key, dataset, base, recipe, start, work).model_copy(update={"known": known})
    begun = _begin(store, begun, job, on_event)
    log_file = store.root / "logs" / f"train-{key[:16]}.log"
    told = {"training": key, "dataset": dataset.address, "base": base.name, "recipe": recipe.model_dump(mode="json")}
    price = local_price(known, recipe, base.parameters)
    on_event({"event": "begin", **told, **({} if price is None else {"price_per_hour": price})})
    for text in begun.not_used:
        on_event({"event": "note", "text": text})
    result = train_in_process(job, home=store.root, log_file=log_file, on_event=on_event, price_per_hour=price or 0.0)
    made.append(True)
    note_actual(key, recipe, result)
    return TrainedModel(
        uri=store.uri(STAGE, key),
        adapter_digest=result.adapter_digest,
        base=base,
        dataset=dataset.address,
        dataset_digest=dataset.digest,
        quantization=quantization_of(recipe.adapter),
        adapter=recipe.adapter,
        method=recipe.method,
        started_from=start.digest if start else "",
        steps=result.steps,
        rows_seen=result.rows_seen,
        rows_available=result.rows_available,
        tokens_per_second=result.tokens / max(result.seconds, 1e-6),
        final_loss=final_loss(result.curve),
        curve=result.curve,
        decisions=result.decisions,
        seconds=result.seconds,
        interruptions=result.interruptions,
        history=(*begun.not_used, *result.history),
        validation=result.validation,
        validation_rows=result.validation_rows,
        best_step=result.best_step,
        measures=result.measures,
        repairs=result.repairs,
        estimate=result.estimate,
        peak_memory_bytes=result.peak_memory_bytes,
    )


def _job(
    store: Store, key: str, dataset: DatasetVersion, base: BaseModelRef, recipe: Recipe, start: Start | None, work: Path
) -> Job:
    folder = store.path(dataset.uri)
    manifest = folder / "manifest.json"
    split = json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {}
    return Job(
        base=base,
        rows=folder / "train.jsonl",
        row_count=dataset.train_rows,
        dataset_digest=dataset.digest,
        config=recipe,
        start=start.folder if start else None,
        work=work,
        key=key,
        mirror=store.remote_work_uri(STAGE, key),
        group_by=split.get("group_by", ""),
    )


def _begin(store: Store, begun: Begun, job: Job, on_event: OnEvent) -> Begun:
    """Bring what another machine left beside its checkpoints; note what is trained here."""
    _checkpoints(store, job.key, on_event).fetch_beside()
    return begin(begun, job.work, store)


def _checkpoints(store: Store, key: str, on_event: OnEvent) -> Checkpoints:
    """The checkpoints of a training, here and in the object store."""
    folder = store.root / "work" / STAGE / key / "checkpoints"
    mirror = store.remote_work_uri(STAGE, key)
    return Checkpoints(folder, mirror, lambda text: on_event({"event": "note", "text": text}))


def final_loss(curve: Any) -> float:
    """Mean loss of the last tenth of the steps: a single batch says little."""
    last = curve[-max(1, len(curve) // 10) :]
    return float(sum(point.loss for point in last) / len(last))
