"""A Prefect server for a run in this process: the one of `tuneloop up` if it answers, else an embedded one.

Every run without a running server has an embedded server of its own on the same database (HOME/prefect/prefect.db).
Two runs at once are two servers: neither depends on the other, and SQLite keeps their writes apart.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from pydantic import Field

from deployments.environment import quiet
from deployments.services.health import ask
from deployments.services.launch import child_environment, forget, last_lines, start_leashed
from deployments.services.ports import free_port
from deployments.services.prefect_client import reporting_to
from deployments.services.prefect_http import api_client
from deployments.services.prefect_process import (
    api_url,
    embedded_server_environment,
    server_command,
)
from deployments.services.spec import log_file
from deployments.services.state import running_service
from tasks.adapters.claim import claim
from tasks.adapters.processes import end
from tasks.contracts import Record
from tasks.errors import EnvironmentUnusable

START_SECONDS = 120.0
_DRAIN_SECONDS = 10.0
_SETTLE_SECONDS = 5.0
_POLL_SECONDS = 0.05
log = logging.getLogger("tuneloop.embedded")


class PrefectEndpoint(Record):
    """The Prefect server that flow runs of this process report to."""

    api_url: str
    ui_url: str | None = Field(None, description="Pages for people; None where the server has none.")
    embedded: bool = Field(description="Whether the server belongs to this process and ends with it.")


@contextlib.contextmanager
def prefect_server(home: Path) -> Iterator[PrefectEndpoint]:
    """Have flow runs of this process recorded by a Prefect server while the block runs.

    In this order: the server that PREFECT_API_URL names, the one that `tuneloop up` runs for this home, an embedded
    one. Enter it from the main thread: the embedded server ends with the thread that started it.

    Args:
        home: absolute path of TUNELOOP_HOME.

    Raises:
        EnvironmentUnusable: the embedded server does not start.
    """
    quiet()
    found = running_server(home)
    if found is not None:
        with reporting_to(home, found.api_url):
            yield found
            _drain()
        return
    with _embedded(home) as endpoint, reporting_to(home, endpoint.api_url):
        try:
            yield endpoint
        finally:
            _drain()
            _settle(endpoint.api_url)


def running_server(home: Path) -> PrefectEndpoint | None:
    """A server that is already there and answers."""
    named = os.environ.get("PREFECT_API_URL", "")
    if named:
        if _answers(named):
            return PrefectEndpoint(api_url=named, ui_url=named.removesuffix("/api"), embedded=False)
        log.warning("PREFECT_API_URL names %s, which does not answer: this run is recorded in %s", named, home)
    service = running_service(home, "prefect")
    if service is not None and service.port is not None and _answers(api_url(service.port)):
        return PrefectEndpoint(api_url=api_url(service.port), ui_url=service.url, embedded=False)
    return None


def _answers(url: str) -> bool:
    try:
        return ask(f"{url}/health", timeout_seconds=3.0).status_code == httpx.codes.OK
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


@contextlib.contextmanager
def _embedded(home: Path) -> Iterator[PrefectEndpoint]:
    """Start a server as a child, end it in order."""
    port, log_path = free_port(), log_file(home, "prefect")
    (home / "prefect").mkdir(parents=True, exist_ok=True)
    with claim(home / "locks" / "prefect-start.lock", "start of the run database"):  # the first one migrates it
        process = start_leashed(
            server_command(port), name="embedded Prefect server", home=home, log_file=log_path,
            environment=child_environment(home, embedded_server_environment(home, port)), cwd=home,
        )  # fmt: skip
        try:
            import prefect.main  # noqa: F401 - costs a second, spent while the server starts

            _wait(process, api_url(port), log_path)
        except BaseException:
            _stop(home, process)
            raise
    try:
        yield PrefectEndpoint(api_url=api_url(port), embedded=True)
    finally:
        _stop(home, process)


def _wait(process: subprocess.Popen[bytes], url: str, log_path: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise EnvironmentUnusable(
                "the embedded Prefect server did not start", where=str(log_path), why=last_lines(log_path, 3),
                remedy="look into the log; a full disk or a damaged prefect.db beside it are the usual causes",
            )  # fmt: skip
        time.sleep(_POLL_SECONDS)


def _stop(home: Path, process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        end(process.pid, grace_seconds=10.0)
        process.wait()
    forget(home, process.pid)


def _drain() -> None:
    """Have everything that this process still holds for the server sent: events (task runs are made of them), logs."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (EventsWorker, APILogWorker):
        worker.drain_all(timeout=_DRAIN_SECONDS, at_exit=False)


def _settle(url: str) -> None:
    """Wait until the server has recorded what it received: its count of task runs and of unfinished ones stands still.

    A server that is ended in the middle of recording loses the last task runs. Task runs of other processes in the
    same database may go on, so the wait is bounded.
    """
    deadline, before = time.monotonic() + _SETTLE_SECONDS, None
    unfinished = {"task_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING"]}}}}
    with api_client(url, timeout_seconds=5.0) as client:
        while time.monotonic() < deadline:
            try:
                now = [client.post("/task_runs/count", json=body).json() for body in ({}, unfinished)]
            except (httpx.HTTPError, EnvironmentUnusable):  # it ended with the interrupt that ends us, or was killed
                return
            if now == before:
                return
            before = now
            time.sleep(0.25)
