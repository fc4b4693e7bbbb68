"""One supervised service: started, watched, started again with a growing pause, ended."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from deployments.services.health import ask
from deployments.services.launch import HOME_MARK, child_environment, forget, last_lines, start_leashed
from deployments.services.spec import Service
from deployments.services.state import Phase, ServiceState
from tasks.adapters.processes import end

START_SECONDS = 180.0
STEADY_SECONDS = 60.0
FIRST_ATTEMPTS = 4
MAX_PAUSE_SECONDS = 30.0
PROBE_SECONDS = 5.0
REFUSES = "failed"  # what a service says of itself that is up, but cannot do its work
LOADS = "loading"  # what a service says that will be ready by itself


class Child:
    """A service with its process. Not thread-safe: the supervisor's loop is the only caller.

    Args:
        first_pause_seconds: between the first crash and the next start; it doubles from crash to crash.
    """

    def __init__(self, service: Service, home: Path, first_pause_seconds: float = 1.0) -> None:
        self.service, self.home = service, home
        self.first_pause_seconds = first_pause_seconds
        self.phase: Phase = "waiting"
        self.reason = ""
        self.restarts = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.started: float | None = None
        self._attempts = 0
        self._was_healthy = False
        self._began = self._next_start = self._next_probe = 0.0

    def tick(self, healthy: set[str]) -> None:
        """Take the next step, if one is due; `healthy` names the services that are."""
        now = time.monotonic()
        if self.process is None:
            if self.phase != "failed" and now >= self._next_start and set(self.service.needs) <= healthy:
                self._start(now)
            return
        code = self.process.poll()
        if code is not None:
            self._ended(f"ended with exit code {code}", now)
        elif now >= self._next_probe:
            self._probe(now)

    def stumbled(self, error: Exception) -> bool:
        """Note that `tick` failed, and go on after a pause; whether there is something new to say.

        The process, if there is one, is left as it is: it may be training.
        """
        now, reason = time.monotonic(), f"cannot be looked after: {type(error).__name__}: {error}"
        if self.process is None:
            self.restarts += 1
            reason = f"{reason}; {self._start_later(now)}"
        else:
            self.phase, self._next_probe = "unhealthy", now + PROBE_SECONDS
        said, self.reason = self.reason, reason
        return said != reason

    def stop(self) -> None:
        """End the process and everything it started."""
        if self.process is not None:
            if self.process.poll() is None:  # once reaped, the number may be somebody else's
                end(self.process.pid)
                self.process.wait()
            forget(self.home, self.process.pid)
        self.process, self.phase = None, "stopped"

    def state(self) -> ServiceState:
        pid = self.process.pid if self.process is not None else None
        return ServiceState(
            name=self.service.name, state=self.phase, pid=pid, started=self.started if pid else None,
            port=self.service.port, url=self.service.url, log=self.service.log, restarts=self.restarts,
            reason=self.reason,
        )  # fmt: skip

    def _start(self, now: float) -> None:
        environment = child_environment(self.home, {**self.service.environment, HOME_MARK: str(self.home)})
        self.process = start_leashed(
            self.service.command, name=f"{self.service.name} service", home=self.home,
            log_file=Path(self.service.log), environment=environment, cwd=self.home,
        )  # fmt: skip
        self.started = psutil.Process(self.process.pid).create_time()
        self.phase, self._began, self._next_probe = "starting", now, now

    def _probe(self, now: float) -> None:
        ready, said = _health(self.service)
        self.reason = said
        if ready:
            self.phase, self._was_healthy = "healthy", True
            self._next_probe = now + PROBE_SECONDS
            if now - self._began > STEADY_SECONDS:
                self._attempts = 0
        elif said.startswith(LOADS):  # no deadline: it lives and says so, and a large model takes its time
            self.phase, self._began = "starting", now
        elif said.startswith(REFUSES) or (self._was_healthy and self.phase != "starting"):
            self.phase, self._next_probe = "unhealthy", now + 1
        elif now - self._began > START_SECONDS:
            self._ended(f"not ready after {START_SECONDS:.0f} s: {said}", now)

    def _ended(self, why: str, now: float) -> None:
        self.stop()
        self.restarts += 1
        following = self._start_later(now)
        self.reason = f"{why}; {following}; its log ends with: {last_lines(Path(self.service.log), 3)}"

    def _start_later(self, now: float) -> str:
        """Settle when the next start is due, or that there is none; says which."""
        self._attempts += 1
        pause = min(MAX_PAUSE_SECONDS, self.first_pause_seconds * 2 ** (self._attempts - 1))
        self._next_start = now + pause
        given_up = not self._was_healthy and self._attempts >= FIRST_ATTEMPTS
        self.phase = "failed" if given_up else "restarting"
        return "given up" if given_up else f"next start in {pause:.1f} s"


def _health(service: Service) -> tuple[bool, str]:
    """Whether a service is ready, and what there is to say about it."""
    try:
        answer = ask(service.health_url, timeout_seconds=2.0)
    except httpx.HTTPError:
        return False, f"no answer from {service.health_url}"
    if answer.status_code != httpx.codes.OK:
        return False, f"{service.health_url} answers {answer.status_code}"
    if not service.ready_states:
        return True, ""
    try:
        return _told(answer.json(), service)
    except (ValueError, KeyError, TypeError, RecursionError):  # anybody may listen on the port, and say anything
        return False, f"{service.health_url} does not answer as a {service.name} of ours"


def _told(answer: Any, service: Service) -> tuple[bool, str]:
    """The same, from what a service says of itself.

    Raises:
        ValueError, KeyError, TypeError: none of ours says that.
    """
    status = answer["status"]
    if status in service.ready_states:
        return True, service.ready_states[status]
    if status not in (LOADS, REFUSES):
        raise ValueError(status)
    return False, f"{status} {answer.get('error') or ''}".strip()
