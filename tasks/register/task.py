"""Doors of the registration stage."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from tasks.adapters import registry, releases
from tasks.adapters.store import Store
from tasks.contracts import DatasetVersion, EvalReport, GateDecision, RegisteredModel, ServedModel, TrainedModel
from tasks.progress import stage
from tasks.register.comparison import compared_with
from tasks.register.record import Evidence, entry


@task(name="champion", task_run_name="champion of {model_name}", cache_policy=NO_CACHE)
def champion(model_name: str, adapter_digest: str = "") -> ServedModel | None:
    """The version a candidate has to be compared with, or None.

    For an adapter that is already registered that is the champion it was compared with then, so that an identical
    run repeats the stored verdict.
    """
    releases.reconcile(model_name)
    known = registry.registered(model_name, adapter_digest) if adapter_digest else None
    if known is not None:
        before = registry.tags(model_name, known.version)["compared_with"]
        return compared_with(model_name, before) if before else None
    return compared_with(model_name, "champion")


@task(name="champion at hand", task_run_name="champion of {model_name} at hand", cache_policy=NO_CACHE)
def champion_at_hand(model_name: str) -> None:
    """Refuse before hours of training what nothing could be compared with after them.

    Raises:
        ModelUnavailable: there is a champion, but its base model is gone or is another one now.
    """
    compared_with(model_name, "champion")


@task(name="registered version", task_run_name="{model_name} version {version}", cache_policy=NO_CACHE)
def registered_version(model_name: str, version: int) -> RegisteredModel:
    """A version by its number.

    Raises:
        UsageError: there is no such version.
    """
    return registry.version(model_name, version)


@task(name="register", task_run_name="register {model_name}", cache_policy=NO_CACHE)
def register(
    model_name: str,
    trained: TrainedModel,
    dataset: DatasetVersion,
    report: EvalReport,
    decision: GateDecision,
    config_json: dict[str, Any],
) -> RegisteredModel:
    """An adapter that passed the gate becomes a version of the model, as challenger; once, however often repeated."""
    with stage("register"):
        store = Store.open()
        evidence = Evidence(trained=trained, dataset=dataset, report=report, decision=decision)
        manifest = (store.path(dataset.uri) / "manifest.json").read_text(encoding="utf-8")
        told = entry(model_name, evidence, config_json, manifest)
        made = registry.register(told, store.path(trained.uri))
        releases.reconcile(model_name)
    _publish(made, told.texts["model_card.md"], trained, dataset)
    return made


def _publish(model: RegisteredModel, card: str, trained: TrainedModel, dataset: DatasetVersion) -> None:
    key = model.name.lower().replace("_", "-").replace(".", "-")
    create_markdown_artifact(key=f"model-card-{key}", markdown=card, description=f"{model.name} {model.version}")
    if model.url:
        create_link_artifact(key=f"model-{key}", link=model.url, link_text=f"{model.name} {model.version} in MLflow")
    if not model.new:
        return
    emit_event(
        "tuneloop.model.registered",
        resource={"prefect.resource.id": f"tuneloop.model.{model.name}", "prefect.resource.name": model.name},
        payload={
            "model": model.name,
            "version": model.version,
            "adapter_digest": model.adapter_digest,
            "dataset": dataset.address,
            "base": trained.base.name,
            "run_id": model.run_id,
            "url": model.url,
        },
    )
