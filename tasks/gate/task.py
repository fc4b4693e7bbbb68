"""Prefect door of the gate."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from tasks import progress
from tasks.adapters.store import Store, stage_key
from tasks.contracts import EvalReport, GateDecision, TrainedModel
from tasks.gate.config import GateConfig
from tasks.gate.decide import decide
from tasks.gate.rendering import decision_markdown

_STAGE = "gate"
REVISION = 1


@task(name=_STAGE, task_run_name="gate for {trained.dataset}", cache_policy=NO_CACHE)
def gate(trained: TrainedModel, report: EvalReport, config: GateConfig) -> GateDecision:
    """The verdict on a candidate: decided once, then repeated as it was stored."""
    with progress.stage(_STAGE):
        decision, new = stored_verdict(Store.open(), trained, report, config)
        create_markdown_artifact(decision_markdown(decision), "gate", f"Gate for the model of {trained.dataset}")
        if new and not decision.passed:
            _announce(trained, report, decision)
        return decision


def stored_verdict(
    store: Store, trained: TrainedModel, report: EvalReport, config: GateConfig
) -> tuple[GateDecision, bool]:
    """The verdict and whether it was decided just now.

    `report.digest` names the champion too: against another one it is decided anew. An identical run meets its verdict
    again, because a registered candidate is compared with the champion of that time (tasks/register/task.py).
    """
    decided: list[GateDecision] = []

    def make(_folder: Path) -> GateDecision:
        decided.append(decide(report, config))
        return decided[0]

    key = stage_key(REVISION, trained.adapter_digest, report.digest, config)
    return store.produce(_STAGE, key, GateDecision, make), bool(decided)


def _announce(trained: TrainedModel, report: EvalReport, decision: GateDecision) -> None:
    emit_event(
        "tuneloop.gate.refused",
        resource={"prefect.resource.id": f"tuneloop.adapter.{trained.adapter_digest}"},
        payload={
            "dataset": trained.dataset,
            "dataset_digest": trained.dataset_digest,
            "adapter_uri": trained.uri,
            "adapter_digest": trained.adapter_digest,
            "evaluation_uri": report.uri,
            "reasons": list(decision.refusals),
        },
    )
