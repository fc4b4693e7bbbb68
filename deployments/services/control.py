"""`tuneloop up`, `down` and `status`: ask the supervisor of this home for services, end them, look at them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
from pydantic import Field

from deployments.config_file import LoadedConfig, load_config
from deployments.environment import quiet
from deployments.register import PREFECT_FILE, load_flows, register_deployments
from deployments.services import state
from deployments.services.child import LOADS
from deployments.services.launch import child_environment, last_lines, marked
from deployments.services.plan import AskedPorts, plan
from deployments.services.prefect_client import reporting_to
from deployments.services.prefect_http import api_client
from deployments.services.prefect_process import api_url
from deployments.services.spec import Request, log_file, request_file, services, write_request
from deployments.services.state import ServiceState, Supervision
from tasks.adapters import api_keys
from tasks.adapters.claim import claim
from tasks.adapters.processes import end, is_alive
from tasks.config import RunConfig
from tasks.contracts import Record
from tasks.errors import EnvironmentUnusable
from tasks.settings import Settings

READY_SECONDS = 240.0
UNHEALTHY_SECONDS = 10.0
RETRAIN = "retrain/local"
RELEASE = "release/local"
_POLL_SECONDS = 0.2
Report = Callable[[str], None]


class Up(Record):
    """What is running after `up`."""

    services: tuple[ServiceState, ...]
    notes: tuple[str, ...] = Field((), description="Decisions a person should know: moved ports, no gateway, ...")
    deployments: tuple[str, ...] = Field((), description="Names of the registered deployments, flow/name.")
    key_file: str = Field("", description="File with the gateway's key; empty without a gateway.")


class Down(Record):
    """What `down` ended."""

    ended: tuple[str, ...]


class Submitted(Record):
    """A run that was handed to the worker."""

    run_id: str
    url: str


def up(
    config_path: Path | None = None,
    *,
    ports: AskedPorts | None = None,
    report: Report = lambda _: None,
    prefect_file: Path = PREFECT_FILE,
) -> Up:  # fmt: skip
    """Start Prefect server, MLflow server, worker and gateway in the background, wait for them, register deployments.

    Repeating it changes nothing that is as wanted. Without a configuration no gateway is started, and the
    deployments have no default parameters and no active schedules.

    Args:
        config_path: the configuration whose model is served and that deployments run by default.
        report: gets a line whenever a service changes its state.
        prefect_file: which deployments are registered.

    Raises:
        UsageError: the configuration is wrong.
        EnvironmentUnusable: a port that was asked for is busy, or a service does not start.
    """
    quiet()
    home = Settings().root
    loaded = load_config(config_path) if config_path else None
    with claim(home / "locks" / "services.lock", "starting or ending the services"):
        request, notes = plan(home, loaded, ports or AskedPorts())
        key_file = _gateway_key(home) if request.model_name else ""
        write_request(request)
        _ensure_supervisor(home)
        load_flows(prefect_file)  # seconds of import, spent while the servers start
        _wait(home, request, report, only=("prefect",))
        registered = _register(home, request, loaded, prefect_file)
        found = _wait(home, request, report, only=tuple(s.name for s in services(request)))
    notes += tuple(f"{s.name}: {s.reason}" for s in found if s.reason)
    return Up(services=found, notes=notes, deployments=registered, key_file=key_file)


def down() -> Down:
    """End every service of this home and everything the services started; flow runs of the worker included.

    Works as well when the supervisor was killed.

    Raises:
        EnvironmentUnusable: a process could not be ended.
    """
    home = Settings().root
    with claim(home / "locks" / "services.lock", "starting or ending the services"):
        supervision = state.read(home)
        ended = [s.name for s in supervision.services if s.pid] if supervision else []
        if supervision and supervision.alive:
            end_supervisor(supervision)
            ended.append("supervisor")
        for process in marked(home):
            ended.append(f"process {process.pid}, left behind by a service")
            end(process.pid)
        left = marked(home)
        if left:
            raise EnvironmentUnusable(
                "services could not be ended", where=", ".join(f"process {p.pid}" for p in left),
                why="they do not react to SIGKILL", remedy="restart the machine, or wait for the disk they wait for",
            )  # fmt: skip
        state.remove(home)
        request_file(home).unlink(missing_ok=True)
    return Down(ended=tuple(ended))


def status() -> tuple[ServiceState, ...]:
    """The services of this home as they are now; empty when nothing was started."""
    supervision = state.read(Settings().root)
    if supervision is None:
        return ()
    return tuple(_seen_now(s, supervision.alive) for s in supervision.services)


def submit_run(config: RunConfig, reason: str = "", resume: str = "") -> Submitted:
    """Hand a run of the main job to the worker that `up` started.

    Raises:
        EnvironmentUnusable: no services are running, or the deployment is not registered.
    """
    prefect = state.running_service(Settings().root, "prefect")
    if prefect is None or prefect.port is None:
        raise EnvironmentUnusable(
            "there is no worker to hand the run to", where=str(state.state_file(Settings().root)),
            why="the services of this home are not running", remedy="tuneloop up CONFIG, or run without --submit",
        )  # fmt: skip
    parameters = {"config": config.model_dump(mode="json"), "reason": reason, "resume": resume}
    with api_client(api_url(prefect.port)) as client:
        found = client.get(f"/deployments/name/{RETRAIN}")
        if found.status_code == httpx.codes.NOT_FOUND:
            raise EnvironmentUnusable(
                f"the deployment {RETRAIN} is not registered", where=prefect.url,
                why="`tuneloop up` did not come to its end", remedy="tuneloop up",
            )  # fmt: skip
        deployment = found.raise_for_status().json()["id"]
        run = client.post(f"/deployments/{deployment}/create_flow_run", json={"parameters": parameters})
        run_id = str(run.raise_for_status().json()["id"])
    return Submitted(run_id=run_id, url=f"{prefect.url}/runs/flow-run/{run_id}")


def end_supervisor(supervision: Supervision, grace_seconds: float = 90.0) -> None:
    """SIGTERM to the supervisor alone, so that it ends its services in order; SIGKILL after the grace."""

    try:
        process = psutil.Process(supervision.pid)
        process.terminate()
        process.wait(grace_seconds)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired:
        end(supervision.pid, grace_seconds=1.0)


def _register(home: Path, request: Request, loaded: LoadedConfig | None, prefect_file: Path) -> tuple[str, ...]:
    """Register the deployments, and the automation that starts one of them."""
    url, folder = api_url(request.ports.prefect), Path(request.working_directory)
    with reporting_to(home, url):
        registered = register_deployments(url, loaded.config if loaded else None, folder, prefect_file)
        if RETRAIN in registered:
            from deployments.automations import apply_automations

            apply_automations(RETRAIN, RELEASE if RELEASE in registered else None)
    return registered


def _gateway_key(home: Path) -> str:
    path = home / "keys" / "gateway.key"
    api_keys.ensure_key_file(path)
    return str(path)


def _ensure_supervisor(home: Path) -> None:
    supervision = state.read(home)
    if supervision and supervision.alive:
        return
    state.remove(home)
    log = log_file(home, "supervisor")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "deployments.services.supervisor"], stdin=subprocess.DEVNULL, stdout=stream,
            stderr=stream, cwd=home, env=child_environment(home), start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + READY_SECONDS
    while state.read(home) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            raise EnvironmentUnusable(
                "the supervisor of the services did not start", where=str(log), why=last_lines(log, 3),
                remedy="look into its log; `tuneloop down` ends what may be left, then repeat `tuneloop up`",
            )  # fmt: skip
        time.sleep(_POLL_SECONDS)


def _wait(home: Path, request: Request, report: Report, only: tuple[str, ...]) -> tuple[ServiceState, ...]:
    """Wait until the supervisor has made these services of the request healthy."""
    said: dict[str, str] = {}
    ill_since: dict[str, float] = {}
    deadline = time.monotonic() + READY_SECONDS
    while True:
        now = state.read(home)
        current = now.services if now and now.wanted == request.digest else ()
        for service in current:
            if said.get(service.name) != service.state:
                said[service.name] = service.state
                report(f"{service.name}: {service.state}")
        awaited = [s for s in current if s.name in only]
        if len(awaited) == len(only) and all(s.state == "healthy" for s in awaited):
            return tuple(current)
        ill_since = {s.name: ill_since.get(s.name, time.monotonic()) for s in current if s.state == "unhealthy"}
        if any(s.state == "starting" and s.reason.startswith(LOADS) for s in awaited):
            deadline = time.monotonic() + READY_SECONDS  # a large model takes its time
        _give_up_if_hopeless(home, now, current, ill_since, late=time.monotonic() > deadline)
        time.sleep(_POLL_SECONDS)


def _give_up_if_hopeless(
    home: Path, now: Supervision | None, current: tuple[ServiceState, ...], ill_since: dict[str, float], *, late: bool
) -> None:
    """Raise when the supervisor or a service will not become healthy any more."""
    ill = {name for name, since in ill_since.items() if time.monotonic() - since > UNHEALTHY_SECONDS}
    bad = [s for s in current if s.state == "failed" or s.name in ill or (late and s.state != "healthy")]
    if now is not None and now.alive and not bad and not late:
        return
    raise EnvironmentUnusable(
        "a service did not start",
        where=bad[0].log if bad else str(log_file(home, "supervisor")),
        why=f"{bad[0].name}: {bad[0].reason or bad[0].state}" if bad else "the supervisor ended or does not answer",
        remedy="look into its log; `tuneloop down` ends the others, then repeat `tuneloop up`",
    )


def _seen_now(service: ServiceState, supervised: bool) -> ServiceState:
    running = service.pid is not None and service.started is not None and is_alive(service.pid, service.started)
    if not running and service.pid is not None:
        return service.model_copy(update={"state": "stopped", "pid": None, "reason": "its process has ended"})
    if not supervised:
        return service.model_copy(update={"reason": "the supervisor was killed: `tuneloop up` brings it back"})
    return service
