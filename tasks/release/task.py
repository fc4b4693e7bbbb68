"""Doors of the release stage."""

from __future__ import annotations

from typing import Any

from prefect import runtime, task
from prefect.artifacts import create_link_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.events import emit_event
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from pydantic import Field

from tasks.adapters import releases
from tasks.contracts import RegisteredModel, Release
from tasks.progress import stage
from tasks.release.carry_out import AUTOMATIC, hold, plan, promote, releasing, serving
from tasks.release.config import ReleaseConfig
from tasks.release.decide import Plan
from tasks.settings import Settings

WAITING_EVENT = "tuneloop.release.waiting"
_UNFINISHED = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED]
_APPROVAL_TIMEOUT_SECONDS = 14 * 24 * 3600


class Decision(RunInput):
    """The form a person fills in when a version waits for approval."""

    promote: bool = Field(description="Put this version into production?")
    reason: str = Field(min_length=3, description="Why; kept in the release history.")
    decided_by: str = Field(min_length=1, description="Who decides; kept in the release history.")


def release_version(model: RegisteredModel, config: ReleaseConfig) -> Release:
    """Promote a version, or say why not. Called in a flow.

    With `approval: required`, a run of a deployment suspends until a person filled in the form; elsewhere, and in
    subflows, which Prefect cannot suspend, the version waits as challenger. Releases of one model come one after
    another: of two identical runs the second finds the version promoted.
    """
    with stage("release"), releasing(model.name):
        decided = planned(model, config)
        if decided.action == "waiting_for_approval" and _can_suspend():
            held(model, decided)
            form = suspend_flow_run(wait_for_input=Decision, timeout=_APPROVAL_TIMEOUT_SECONDS)
            return decided_by_person(model, config, form)
        if decided.action == "promote":
            return promoted(model, config, AUTOMATIC, decided.text, decided.serving)
        return held(model, decided)


@task(name="plan the release", task_run_name="plan for {model.name} {model.version}", cache_policy=NO_CACHE)
def planned(model: RegisteredModel, config: ReleaseConfig) -> Plan:
    """What is to be done with a version. Aliases that a killed run left behind are repaired first."""
    releases.reconcile(model.name)
    return plan(model, config)


@task(name="hold", task_run_name="hold {model.name} {model.version}", cache_policy=NO_CACHE)
def held(model: RegisteredModel, decided: Plan) -> Release:
    """The version is not promoted by this run."""
    return hold(model, decided)


@task(name="promote", task_run_name="promote {model.name} {model.version}", cache_policy=NO_CACHE)
def promoted(model: RegisteredModel, config: ReleaseConfig, actor: str, reason: str, before: int | None) -> Release:
    """Smoke call over real HTTP, then the champion changes from `before`; on failure that one stays."""
    result = promote(model, config, actor, reason, before)
    if result.status == "promoted":
        announce("promoted", model.name, model.version, before, actor, reason)
        _link(model)
    return result


def _link(model: RegisteredModel) -> None:
    """Show people where the model answers, if a gateway is known."""
    if url := Settings().gateway_url:
        key = model.name.lower().replace("_", "-").replace(".", "-")
        create_link_artifact(key=f"served-{key}", link=f"{url}/health", link_text=f"{model.name} at {url}/v1")


def decided_by_person(model: RegisteredModel, config: ReleaseConfig, form: Decision) -> Release:
    """Carry out what a person decided in the form."""
    if form.promote:
        return promoted(model, config, form.decided_by, form.reason, serving(model.name))
    releases.reject(model.name, model.version, form.decided_by, form.reason)
    text = f"version {model.version} was rejected by {form.decided_by}: {form.reason}"
    return Release(model=model.model_copy(update={"alias": ""}), status="kept_previous", text=text)


def announce(what: str, model: str, version: int, before: int | None, actor: str, reason: str) -> None:
    """Emit `tuneloop.release.promoted` or `tuneloop.release.rolled-back`."""
    emit_event(
        f"tuneloop.release.{what}",
        resource={"prefect.resource.id": f"tuneloop.model.{model}", "prefect.resource.name": model},
        payload={"model": model, "version": version, "before": before, "actor": actor, "reason": reason},
    )


def asked(release: Release, config_json: dict[str, Any]) -> Release:
    """Emit `tuneloop.release.waiting` for a version that waits, so that the automation can show a person the form.

    Not while a form for this version is open or about to be: each further run would open one more.
    """
    model = release.model
    if release.status == "waiting_for_approval" and not _form_is_open(model):
        emit_event(
            WAITING_EVENT,
            resource={"prefect.resource.id": f"tuneloop.model.{model.name}", "prefect.resource.name": model.name},
            payload={"model": model.name, "version": model.version, "config": config_json},
        )
    return release


def _form_is_open(model: RegisteredModel) -> bool:
    """Whether a run of the release deployment asks a person about this version, or will."""
    wanted = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNFINISHED)),
        deployment_id=FlowRunFilterDeploymentId(is_null_=False),
    )
    with get_client(sync_client=True) as client:
        flow = FlowFilter(name=FlowFilterName(any_=["release"]))
        runs = client.read_flow_runs(flow_filter=flow, flow_run_filter=wanted)
    return any(_asked_about(run.parameters) == (model.name, model.version) for run in runs)


def _asked_about(parameters: dict[str, Any]) -> tuple[Any, Any]:
    """Name and version of the model that a release run with these parameters is about."""
    config = parameters.get("config") or {}
    name = (config.get("registry") or {}).get("model_name") or config.get("project")
    return name, parameters.get("version")


def _can_suspend() -> bool:
    return bool(runtime.flow_run.id and runtime.deployment.id and not runtime.flow_run.parent_flow_run_id)
