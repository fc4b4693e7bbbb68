"""Doors of the drift check."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from tasks.adapters import registry, release_history, releases, request_log
from tasks.adapters.store import Store
from tasks.contracts import DriftReport
from tasks.errors import UsageError
from tasks.monitor import drift
from tasks.monitor.config import MonitorConfig
from tasks.monitor.requests import asked, dataset_prompts
from tasks.progress import stage

DRIFT_EVENT = "tuneloop.drift.detected"


@task(name="compare requests", task_run_name="compare requests to {model_name}", cache_policy=NO_CACHE)
def compare(model_name: str, config: MonitorConfig) -> DriftReport:
    """Recent requests against what the champion was trained on, as a report and an artifact.

    Raises:
        UsageError: no version of the model serves, so there is nothing to compare with.
    """
    with stage("monitor"):
        releases.reconcile(model_name)
        report = _report(model_name, config)
        key = model_name.lower().replace("_", "-").replace(".", "-")
        create_markdown_artifact(drift.markdown(report), f"drift-{key}", f"Requests to {model_name} and its training")
        return report


def _report(model_name: str, config: MonitorConfig) -> DriftReport:
    champion = release_history.champion(model_name)
    if champion is None:
        raise UsageError(
            "there is no model whose requests could be compared",
            where=model_name,
            why="no version has been promoted",
            remedy="run the retrain flow first",
        )
    lineage = registry.tags(model_name, champion.version)
    prompts = dataset_prompts(Store.open().path(lineage["dataset_uri"]))
    texts = [asked(request.prompt) for request in request_log.recent(model_name, config.window_hours)]
    question = drift.Question(
        model=model_name,
        version=champion.version,
        dataset=lineage["dataset"],
        min_requests=config.min_requests,
        p_value=config.p_value,
    )
    return drift.compare(texts, prompts, question)


@task(name="announce drift", task_run_name="announce drift of {report.model}", cache_policy=NO_CACHE)
def announce(report: DriftReport, config: dict[str, Any]) -> bool:
    """Emit `tuneloop.drift.detected` if there is drift, with what a retraining needs; whether it was emitted."""
    if not report.drifted:
        return False
    emit_event(
        DRIFT_EVENT,
        resource={"prefect.resource.id": f"tuneloop.model.{report.model}", "prefect.resource.name": report.model},
        payload={**report.model_dump(mode="json"), "reason": _sentence(report), "config": config},
    )
    return True


def _sentence(report: DriftReport) -> str:
    return f"requests to {report.model} drifted: " + "; ".join(report.reasons)
