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

DRIFT_AUTOMATION = "Drift starts a retraining"
RETRAIN_DEPLOYMENT = "retrain/local"


def apply_automations(deployment: str = RETRAIN_DEPLOYMENT) -> tuple[str, ...]:
    """Create the automations, or bring existing ones of the same name up to date; their names.

    Raises:
        EnvironmentUnusable: the deployment that an automation starts is not there.
    """
    with get_client(sync_client=True) as client:
        wanted = drift_automation(_deployment_id(client, deployment))
        existing = client.read_automations_by_name(wanted.name)
        if existing:
            client.update_automation(existing[0].id, wanted)
        else:
            client.create_automation(wanted)
        for surplus in existing[1:]:
            client.delete_automation(surplus.id)
    return (wanted.name,)


def drift_automation(deployment_id: UUID) -> AutomationCore:
    """`tuneloop.drift.detected` → a run of the deployment, with the configuration that the check ran with."""
    return AutomationCore(
        name=DRIFT_AUTOMATION,
        description="Requests differ from the training data: run the main job again. Nothing new: unchanged.",
        enabled=True,
        trigger=EventTrigger(
            expect={DRIFT_EVENT},
            match={"prefect.resource.id": "tuneloop.model.*"},
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[RunDeployment(source="selected", deployment_id=deployment_id, parameters=_parameters())],
    )


def _parameters() -> dict[str, Any]:
    """Parameters of `retrain`, taken from the event: templates that the server renders for every event.

    The `json` kind around the first makes an object of the rendered text again.
    """
    return {
        "config": {
            "__prefect_kind": "json",
            "value": {"__prefect_kind": "jinja", "template": "{{ event.payload.config | tojson }}"},
        },
        "reason": {"__prefect_kind": "jinja", "template": "{{ event.payload.reason }}"},
    }


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
