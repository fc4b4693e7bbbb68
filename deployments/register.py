"""Registers the flows as deployments of the local pool: forms, schedules and an HTTP API for every one of them."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import Field

from deployments.services.spec import LOCAL_POOL
from tasks.config import RunConfig
from tasks.contracts import Record

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.orchestration import SyncPrefectClient

PREFECT_FILE = Path(__file__).with_name("prefect.yaml")
POOL_FILES = Path(__file__).with_name("work_pools")


class Schedule(Record):
    """When a deployment runs by itself."""

    slug: str
    cron: str
    timezone: str = "UTC"
    active: bool = False
    parameters: dict[str, Any] = Field(default_factory=dict)


class WorkPool(Record):
    """Where a deployment runs, with what it changes in the pool's job template."""

    name: str
    job_variables: dict[str, Any] = Field(default_factory=dict)


class Deployment(Record):
    """One entry of prefect.yaml."""

    name: str
    entrypoint: str = Field(pattern=r"^[\w.]+$", description="Module path of the flow: package.module.function.")
    description: str = ""
    tags: tuple[str, ...] = ()
    work_pool: WorkPool
    schedules: tuple[Schedule, ...] = ()
    parameters: dict[str, Any] = Field(default_factory=dict)

    def load_flow(self) -> Flow[..., Any]:
        """The flow that the entrypoint names."""
        from prefect import Flow

        module, function = self.entrypoint.rsplit(".", 1)
        found = getattr(importlib.import_module(module), function)
        if not isinstance(found, Flow):
            raise TypeError(f"{self.entrypoint} is not a flow")
        return found


def committed_deployments(prefect_file: Path = PREFECT_FILE) -> tuple[Deployment, ...]:
    """The entries of a prefect.yaml."""
    content = yaml.safe_load(prefect_file.read_text(encoding="utf-8"))
    return tuple(Deployment.model_validate(entry) for entry in content["deployments"])


def local_deployments(prefect_file: Path = PREFECT_FILE) -> tuple[Deployment, ...]:
    """The entries of a prefect.yaml that run on this machine."""
    return tuple(d for d in committed_deployments(prefect_file) if d.work_pool.name == LOCAL_POOL)


def load_flows(prefect_file: Path = PREFECT_FILE) -> None:
    """Import the flows of this machine's deployments, and Prefect with them."""
    for deployment in local_deployments(prefect_file):
        deployment.load_flow()


def register_deployments(
    api_url: str, config: RunConfig | None, working_directory: Path, prefect_file: Path = PREFECT_FILE
) -> tuple[str, ...]:
    """Create or update the local pool and its deployments; returns their names, flow/deployment.

    Args:
        api_url: of a running Prefect server.
        config: default of every parameter named `config`; None: no default, and schedules stay paused, since a run
            without a configuration could only fail.
        working_directory: where the runs start; relative data paths of forms and API calls resolve against it.
    """
    from prefect.client.orchestration import SyncPrefectClient

    with SyncPrefectClient(api_url) as client:
        _apply_local_pool(client)
        return tuple(_apply(client, d, config, working_directory) for d in local_deployments(prefect_file))


def _apply_local_pool(client: SyncPrefectClient) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectAlreadyExists

    template = json.loads((POOL_FILES / "local.json").read_text(encoding="utf-8"))
    description = "Processes on this machine, started by the worker of `tuneloop up`."
    pool = WorkPoolCreate(name=LOCAL_POOL, type="process", base_job_template=template, description=description)
    try:
        client.create_work_pool(pool)
    except ObjectAlreadyExists:  # the worker may have been quicker
        update = WorkPoolUpdate(base_job_template=template, description=description)
        client.update_work_pool(LOCAL_POOL, update)


def _apply(client: SyncPrefectClient, wanted: Deployment, config: RunConfig | None, working_directory: Path) -> str:
    from prefect.utilities.callables import parameter_schema

    flow = wanted.load_flow()
    schema = parameter_schema(flow)
    defaults: dict[str, Any] = dict(wanted.parameters)
    if config is not None and "config" in schema.properties:
        defaults["config"] = config.model_dump(mode="json")
    step = {"prefect.deployments.steps.set_working_directory": {"directory": str(working_directory)}}
    client.create_deployment(
        flow_id=client.create_flow(flow), name=wanted.name, entrypoint=wanted.entrypoint, path=str(working_directory),
        description=wanted.description, tags=[*wanted.tags], parameters=defaults, pull_steps=[step],
        parameter_openapi_schema=schema.model_dump_for_openapi(), enforce_parameter_schema=True,
        work_pool_name=LOCAL_POOL, job_variables=wanted.work_pool.job_variables,
        schedules=[_schedule(s, active=config is not None) for s in wanted.schedules],
    )  # fmt: skip
    return f"{flow.name}/{wanted.name}"


def _schedule(schedule: Schedule, *, active: bool) -> Any:
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule

    return DeploymentScheduleCreate(
        schedule=CronSchedule(cron=schedule.cron, timezone=schedule.timezone), active=schedule.active or active,
        parameters=schedule.parameters, slug=schedule.slug,
    )  # fmt: skip
