"""Event → action: the only triggers of the house, created and updated by name on the Prefect server."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.actions import RunDeployment
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from tasks.errors import EnvironmentUnusable
from tasks.monitor.task import DRIFT_EVENT
from tasks.release.task import WAITING_EVENT

DRIFT_AUTOMATION = "Drift starts a retraining"
APPROVAL_AUTOMATION = "A waiting release asks a person"
RETRAIN_DEPLOYMENT = "retrain/local"
RELEASE_DEPLOYMENT = "release/local"


def apply_automations(deployment: str = RETRAIN_DEPLOYMENT, release_deployment: str | None = None) -> tuple[str, ...]:
    """Create the automations, or bring existing ones of the same name up to date; their names.

    Args:
        deployment: what drift starts.
        release_deployment: what a version that waits for approval starts; None: nothing.

    Raises:
        EnvironmentUnusable: a deployment that an automation starts is not there.
    """
    with get_client(sync_client=True) as client:
        wanted = [drift_automation(_deployment_id(client, deployment))]
        if release_deployment:
            wanted.append(approval_automation(_deployment_id(client, release_deployment)))
        for automation in wanted:
            _apply(client, automation)
    return tuple(automation.name for automation in wanted)


def _apply(client: SyncPrefectClient, wanted: AutomationCore) -> None:
    existing = client.read_automations_by_name(wanted.name)
    if existing:
        client.update_automation(existing[0].id, wanted)
    else:
        client.create_automation(wanted)
    for surplus in existing[1:]:
        client.delete_automation(surplus.id)


def drift_automation(deployment_id: UUID) -> AutomationCore:
    """`tuneloop.drift.detected` → a run of the deployment, with the configuration that the check ran with."""
    return _automation(
        DRIFT_AUTOMATION,
        "Requests differ from the training data: run the main job again. Nothing new: unchanged.",
        DRIFT_EVENT,
        deployment_id,
        {"config": _object("config"), "reason": {"__prefect_kind": "jinja", "template": "{{ event.payload.reason }}"}},
    )


def approval_automation(deployment_id: UUID) -> AutomationCore:
    """`tuneloop.release.waiting` → a run of the release deployment, which suspends and shows the decision form."""
    return _automation(
        APPROVAL_AUTOMATION,
        "A challenger waits for approval: show a form to a person.",
        WAITING_EVENT,
        deployment_id,
        {"config": _object("config"), "version": _object("version")},
    )


def _automation(
    name: str, description: str, event: str, deployment_id: UUID, parameters: dict[str, Any]
) -> AutomationCore:
    return AutomationCore(
        name=name,
        description=description,
        enabled=True,
        trigger=EventTrigger(
            expect={event},
            match={"prefect.resource.id": "tuneloop.model.*"},
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[RunDeployment(source="selected", deployment_id=deployment_id, parameters=parameters)],
    )


def _object(key: str) -> dict[str, Any]:
    """A parameter from the event's payload: a template that the server renders, read as JSON again."""
    template = "{{ event.payload." + key + " | tojson }}"
    return {"__prefect_kind": "json", "value": {"__prefect_kind": "jinja", "template": template}}


def _deployment_id(client: SyncPrefectClient, name: str) -> UUID:
    try:
        return client.read_deployment_by_name(name).id
    except ObjectNotFound as error:
        raise EnvironmentUnusable(
            "the deployment that drift starts is not registered",
            where=name,
            why="the Prefect server does not know it",
            remedy="tuneloop up registers the deployments first",
        ) from error
