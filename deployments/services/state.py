"""What the supervisor says about itself and its services: HOME/services.json, written atomically, read by anyone."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from tasks.adapters.processes import is_alive
from tasks.adapters.store import write_atomically
from tasks.contracts import Digest, Record

Phase = Literal["waiting", "starting", "healthy", "unhealthy", "restarting", "failed", "stopped"]


class ServiceState(Record):
    """One supervised background process."""

    name: str
    state: Phase
    pid: int | None = None
    started: float | None = Field(None, description="Start time of the process (seconds since the epoch).")
    port: int | None = None
    url: str = Field("", description="Address for people; empty for what has no page.")
    log: str = Field(description="File with everything it prints.")
    restarts: int = 0
    reason: str = Field("", description="Why it is not healthy, in words.")


class Supervision(Record):
    """A supervisor with its services, in the order they are started."""

    pid: int
    started: float
    wanted: Digest = Field(description="Digest of the request that is being fulfilled.")
    services: tuple[ServiceState, ...] = ()

    @property
    def alive(self) -> bool:
        """Whether the supervisor that wrote this is running."""
        return is_alive(self.pid, self.started)

    def service(self, name: str) -> ServiceState | None:
        return next((s for s in self.services if s.name == name), None)


def state_file(home: Path) -> Path:
    return home / "services.json"


def read(home: Path) -> Supervision | None:
    """What was written last, or None; a file of another version counts as absent."""
    try:
        return Supervision.model_validate_json(state_file(home).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


def running_service(home: Path, name: str) -> ServiceState | None:
    """A service of this home whose process is running now, or None."""
    supervision = read(home)
    found = supervision.service(name) if supervision else None
    if found is None or found.pid is None or found.started is None or not is_alive(found.pid, found.started):
        return None
    return found


def write(home: Path, supervision: Supervision) -> None:
    write_atomically(state_file(home), supervision.model_dump_json(indent=1))


def remove(home: Path) -> None:
    state_file(home).unlink(missing_ok=True)
