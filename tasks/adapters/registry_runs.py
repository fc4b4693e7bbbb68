"""The MLflow run that documents one adapter: parameters, scores, curve, card and the adapter itself."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from pydantic import Field

from tasks.adapters.registry_client import client, experiment
from tasks.contracts import Digest, Record
from tasks.digest import digest_of
from tasks.progress import Progress, publish

DIGEST_TAG = "adapter_digest"
TRAINING_TAG = "training"
ADAPTER_FOLDER = "adapter"
_BATCH = 90
_VALUE_CHARACTERS = 5000
_KEY_CHARACTERS = 250
_NOT_IN_A_KEY = re.compile(r"[^\w.\- ]")


class Point(Record):
    """One value of a curve."""

    key: str
    step: int
    value: float


class RegistryEntry(Record):
    """Everything that is written about an adapter."""

    name: str = Field(description="Registered name; also the name of the experiment.")
    adapter_digest: Digest
    description: str = Field(description="One paragraph that people read first.")
    params: dict[str, str]
    metrics: dict[str, float]
    curve: tuple[Point, ...]
    tags: dict[str, str] = Field(description="Lineage: what the adapter was made of. On the run and on the version.")
    texts: dict[str, str] = Field(description="Artifact path → content: card, gate decision, config, manifest.")


def said(text: str) -> None:
    """Tell listeners which step of the registration is done."""
    publish(Progress(stage="register", state="running", text=text))


def complete_run(entry: RegistryEntry, adapter: Path) -> tuple[str, str]:
    """Id and artifact URI of the finished run of this adapter. Runs that were cut short are replaced."""
    own = experiment(entry.name)
    for run in client().search_runs([own], filter_string=f"tags.{DIGEST_TAG} = '{entry.adapter_digest}'"):
        if run.info.status == "FINISHED":
            return str(run.info.run_id), str(run.info.artifact_uri)
        client().delete_run(run.info.run_id)
        said("an unfinished run of this adapter was replaced")
    run = _live_run(own, entry)
    if run is None:
        run = client().create_run(own, tags=entry.tags, run_name=f"{entry.name} {entry.adapter_digest[:12]}")
        said("run created")
    _write(run.info.run_id, entry, adapter)
    client().set_terminated(run.info.run_id)
    said("run finished")
    return str(run.info.run_id), str(run.info.artifact_uri)


def _live_run(own: str, entry: RegistryEntry) -> Any:
    """The run that holds the live metrics of this training, taken over for its adapter; None without one."""
    if TRAINING_TAG not in entry.tags:
        return None
    for run in client().search_runs([own], filter_string=f"tags.{TRAINING_TAG} = '{entry.tags[TRAINING_TAG]}'"):
        if DIGEST_TAG in run.data.tags:
            continue
        client().update_run(run.info.run_id, status="RUNNING")  # FINISHED means that everything is written
        for name, value in entry.tags.items():
            client().set_tag(run.info.run_id, name, value)
        said("the run of the training goes on")
        return run
    return None


def _write(run_id: str, entry: RegistryEntry, adapter: Path) -> None:
    client().set_tag(run_id, "mlflow.note.content", entry.description)
    _write_values(run_id, entry)
    said("parameters and metrics written")
    with tempfile.TemporaryDirectory(prefix="tuneloop-register-") as folder:
        staged = Path(folder)
        shutil.copytree(
            adapter, staged / ADAPTER_FOLDER, ignore=shutil.ignore_patterns("_COMPLETE.json", "checkpoint*")
        )
        for name, text in entry.texts.items():
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            (staged / name).write_text(text, encoding="utf-8")
        client().log_artifacts(run_id, str(staged))
    said("artifacts written")


def registry_key(name: str) -> str:
    """The name of a parameter or metric as MLflow takes it; different names stay different.

    Keys of people's data are part of such names (`base.field.amount (EUR)`). MLflow refuses most signs, reads a slash
    as a folder, and takes 250 characters: any other sign becomes its code point between colons (`amount :28:EUR:29:`),
    and what is too long ends with a digest of the whole name.
    """
    key = _NOT_IN_A_KEY.sub(lambda sign: f":{ord(sign[0]):x}:", name)
    return key if len(key) <= _KEY_CHARACTERS else f"{key[: _KEY_CHARACTERS - 18]}::{digest_of(name)[:16]}"


def _write_values(run_id: str, entry: RegistryEntry) -> None:
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    params = [Param(registry_key(key), value[:_VALUE_CHARACTERS]) for key, value in entry.params.items()]
    metrics = [Metric(registry_key(key), value, now, 0) for key, value in entry.metrics.items()]
    there = _steps_there(run_id, {point.key for point in entry.curve})
    metrics += [Metric(p.key, p.value, now, p.step) for p in entry.curve if (p.key, p.step) not in there]
    for values, kind in ((params, "params"), (metrics, "metrics")):
        for part in _parts(values):
            client().log_batch(run_id, **{kind: part})


def _steps_there(run_id: str, keys: set[str]) -> set[tuple[str, int]]:
    """Points that the live metrics of the training have already."""
    if not client().get_run(run_id).data.metrics:
        return set()
    return {(key, metric.step) for key in keys for metric in client().get_metric_history(run_id, key)}


def _parts(values: list[Any]) -> list[list[Any]]:
    return [values[start : start + _BATCH] for start in range(0, len(values), _BATCH)]
