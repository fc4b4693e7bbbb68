"""Run a flow in this process, recorded by the Prefect server that is there or by an embedded one."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deployments.embedded import PrefectEndpoint, prefect_server
from deployments.services.state import running_service
from tasks import progress
from tasks.errors import EnvironmentUnusable, TuneloopError


def run_flow(home: Path, module: str, name: str, *arguments: object) -> Any:
    """Call a flow and return its result; an error in it is raised here.

    SIGTERM is taken like Ctrl-C: the trainer writes a checkpoint and every child is ended.
    """
    result, _ = run_flow_at(home, module, name, *arguments)
    return result


def run_flow_at(home: Path, module: str, name: str, *arguments: object) -> tuple[Any, PrefectEndpoint]:
    """As `run_flow`, with the server that recorded it."""
    os.environ.setdefault(
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL"
    )  # people see the stages; Prefect keeps all
    _note_pages(home)
    with interruptible(), disk_full_is_ours(home), prefect_server(home) as endpoint:
        flow = getattr(importlib.import_module(module), name)
        noted = flow.with_options(on_running=[*flow.on_running_hooks, _note_process])
        return noted(*arguments, return_state=True).result(), endpoint


def _note_process(_flow: object, run: Any, _state: object) -> None:
    """Note that the run works in this process, so that `tuneloop runs cancel` finds it."""
    from tasks.adapters.runs import note_process

    note_process(str(run.id))


def _note_pages(home: Path) -> None:
    """Let this run link to the pages of the services that are running, as a run of the worker does."""
    for variable, service in (("TUNELOOP_MLFLOW_UI_URL", "mlflow"), ("TUNELOOP_GATEWAY_URL", "gateway")):
        running = running_service(home, service)
        if running is not None and running.url:
            os.environ.setdefault(variable, running.url.removesuffix("/v1"))


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM end the run, also where a library swallows the exception they raise."""
    progress.clear_interrupt()
    before = {number: signal.signal(number, _end_run) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        progress.clear_interrupt()


def _end_run(_number: int, _frame: object) -> None:
    progress.interrupt()
    raise KeyboardInterrupt


@contextlib.contextmanager
def disk_full_is_ours(home: Path) -> Iterator[None]:
    """Turn a full disk, in whatever library it shows, into the coded error."""
    try:
        yield
    except TuneloopError:
        raise
    except Exception as error:
        if not _means_full(error):
            raise
        raise EnvironmentUnusable(
            "the disk is full",
            where=str(home),
            why="a write failed in the middle of the run",
            remedy="free some space or set TUNELOOP_HOME to another disk, then repeat the command: "
            "finished stages are kept",
        ) from error


def _means_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if isinstance(error, sqlite3.Error) and "full" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
