"""The services that `tuneloop up` runs on this machine: what is started, where it listens, how its health is seen."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import Field

from deployments.services.prefect_process import api_url, base_environment, full_server_environment, server_command
from deployments.services.quickly import quickly
from tasks.adapters.store import write_atomically
from tasks.contracts import Digest, Record
from tasks.digest import digest_of
from tasks.settings import Settings

LOCAL_POOL = "local"
CONCURRENT_RUNS = 2  # a drift check or a release beside a training


class Ports(Record):
    """Where the services listen on 127.0.0.1; None where a service is not started."""

    prefect: int
    worker: int = Field(description="Of the worker's health page; nothing for people.")
    mlflow: int | None = None
    gateway: int | None = None


class Request(Record):
    """What `up` wants to be running. The supervisor makes it so, also when it changes later."""

    home: str
    working_directory: str = Field(description="Where flow runs start; relative data paths resolve against it.")
    config_path: str | None = Field(None, description="The configuration that `up` was given.")
    model_name: str | None = Field(None, description="Model that the gateway serves; None: no gateway.")
    ports: Ports

    @property
    def digest(self) -> Digest:
        return digest_of(self)


class Service(Record):
    """One background process."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = Field(description="Added to the supervisor's own.")
    health_url: str = Field(description="Answers 200 when the service is ready.")
    ready_states: dict[str, str] = Field(
        default_factory=dict,
        description="If given: values of `status` in that JSON answer with which the service is ready → what to say.",
    )
    log: str
    port: int | None = None
    url: str = ""
    needs: tuple[str, ...] = Field((), description="Services that have to be healthy first.")


def request_file(home: Path) -> Path:
    return home / "services-wanted.json"


def read_request(home: Path) -> Request:
    return Request.model_validate_json(request_file(home).read_text(encoding="utf-8"))


def write_request(request: Request) -> None:
    write_atomically(request_file(Path(request.home)), request.model_dump_json(indent=1))


def services(request: Request) -> tuple[Service, ...]:
    """The services of a request, in the order they are started; they are ended the other way round."""
    made = [_prefect(request)]
    if request.ports.mlflow is not None:
        made.append(_mlflow(request, request.ports.mlflow))
    made.append(_worker(request))
    if request.model_name is not None and request.ports.gateway is not None:
        made.append(_gateway(request, request.model_name, request.ports.gateway))
    return tuple(made)


def log_file(home: Path, name: str) -> Path:
    return home / "logs" / f"{name}.log"


def _prefect(request: Request) -> Service:
    home, port = Path(request.home), request.ports.prefect
    return Service(
        name="prefect", command=server_command(port), environment=full_server_environment(home, port), port=port,
        url=f"http://127.0.0.1:{port}", health_url=f"{api_url(port)}/health", log=str(log_file(home, "prefect")),
    )  # fmt: skip


def _mlflow(request: Request, port: int) -> Service:
    """MLflow's web application under uvicorn, the way `mlflow server` starts it, without its parent process.

    Runs name their artifact folder themselves (HOME/mlflow/artifacts), the same with and without this server.
    """
    home, database = Path(request.home), Settings().mlflow
    artifacts = (home / "mlflow" / "artifacts").as_uri()
    environment = {
        "_MLFLOW_SERVER_FILE_STORE": database,
        "_MLFLOW_SERVER_REGISTRY_STORE": database,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": artifacts,
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": artifacts,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
    server = (*quickly("uvicorn"), "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning")
    return Service(
        name="mlflow", command=(*server, "mlflow.server.fastapi_app:app"), environment=environment, port=port,
        url=f"http://127.0.0.1:{port}", health_url=f"http://127.0.0.1:{port}/health", log=str(log_file(home, "mlflow")),
    )  # fmt: skip


def _worker(request: Request) -> Service:
    home, port = Path(request.home), request.ports.worker
    environment = {
        **base_environment(home),
        "PREFECT_API_URL": api_url(request.ports.prefect),
        "PREFECT_UI_URL": f"http://127.0.0.1:{request.ports.prefect}",
        "PREFECT_WORKER_QUERY_SECONDS": "3",
        "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
        "PREFECT_WORKER_WEBSERVER_PORT": str(port),
        "PREFECT_RUNNER_AUTO_INSTALL_DEPENDENCIES": "false",
        **_links(request),
    }
    start = (*quickly("prefect"), "worker", "start", "--pool", LOCAL_POOL, "--type", "process")
    template = Path(__file__).resolve().parents[1] / "work_pools" / "local.json"
    options = (
        "--name",
        "this-machine",
        "--limit",
        str(CONCURRENT_RUNS),
        "--with-healthcheck",
        "--install-policy",
        "never",
    )
    return Service(
        name="worker", command=(*start, *options, "--base-job-template", str(template)), environment=environment,
        health_url=f"http://127.0.0.1:{port}/health", log=str(log_file(home, "worker")), needs=("prefect",),
    )  # fmt: skip


def _links(request: Request) -> dict[str, str]:
    """Where people see what a run of the worker made."""
    ports = {"TUNELOOP_MLFLOW_UI_URL": request.ports.mlflow, "TUNELOOP_GATEWAY_URL": request.ports.gateway}
    return {name: f"http://127.0.0.1:{port}" for name, port in ports.items() if port}


def _gateway(request: Request, model_name: str, port: int) -> Service:
    home = Path(request.home)
    command = (sys.executable, "-m", "deployments.gateway", "--model", model_name, "--port", str(port))
    return Service(
        name="gateway", command=command, environment={}, port=port, url=f"http://127.0.0.1:{port}/v1",
        health_url=f"http://127.0.0.1:{port}/health",
        ready_states={"serving": "", "no_champion": f"no version of {model_name} has been promoted yet"},
        log=str(log_file(home, "gateway")),
    )  # fmt: skip
