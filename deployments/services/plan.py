"""What `up` asks the supervisor for: which services, on which ports, and what a person should know about it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from deployments.config_file import LoadedConfig
from deployments.services import state
from deployments.services.ports import choose, free_port
from deployments.services.spec import Ports, Request, read_request
from tasks.contracts import Record
from tasks.settings import Settings


class AskedPorts(Record):
    """Ports that were asked for; None: the preferred one, or the next free one."""

    prefect: int | None = Field(None, description="Of the Prefect server.")
    mlflow: int | None = Field(None, description="Of the MLflow server.")
    gateway: int | None = Field(None, description="Of the gateway.")


def plan(home: Path, loaded: LoadedConfig | None, asked: AskedPorts) -> tuple[Request, tuple[str, ...]]:
    """The wanted services, on the ports they have already where they are running, and notes for a person.

    Raises:
        EnvironmentUnusable: a port that was asked for is busy.
    """
    model = loaded.config.model_name if loaded else None
    ports, notes = _ports(home, asked, gateway=model is not None)
    if loaded is None:
        notes.append("no gateway: `tuneloop up CONFIG` serves the champion of a configuration's model")
        notes.append("schedules are paused: `tuneloop up CONFIG` gives them a configuration to run")
    if ports.mlflow is None:
        notes.append(f"no MLflow server: TUNELOOP_MLFLOW_URL names one already ({Settings().mlflow})")
    request = Request(
        home=str(home), working_directory=str(loaded.path.resolve().parent if loaded else Path.cwd()),
        config_path=str(loaded.path.resolve()) if loaded else None, model_name=model, ports=ports,
    )  # fmt: skip
    return request, tuple(notes)


def _ports(home: Path, asked: AskedPorts, *, gateway: bool) -> tuple[Ports, list[str]]:
    settings, notes, chosen = Settings(), [], dict[str, int]()
    names = ["prefect", *([] if settings.mlflow.startswith("http") else ["mlflow"]), *(["gateway"] if gateway else [])]
    for name in names:
        field = f"{name}_port"
        preferred = int(getattr(settings, field))
        wanted = getattr(asked, name) or (preferred if field in settings.model_fields_set else None)
        running = state.running_service(home, name)
        if running and running.port and wanted in (None, running.port):
            chosen[name] = running.port
            continue
        port, note = choose(name, asked=wanted, preferred=preferred, taken=frozenset(chosen.values()))
        chosen[name] = port
        notes += [note] if note else []
    return Ports(**chosen, worker=_worker_port(home)), notes


def _worker_port(home: Path) -> int:
    if state.running_service(home, "worker"):
        return read_request(home).ports.worker
    return free_port()
