"""End a run from anywhere: its trainer writes a checkpoint, its children end, and Prefect calls it cancelled."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from deployments.embedded import prefect_server
from deployments.runs.prefect_history import FlowRun
from deployments.runs.states import ENDED
from deployments.runs.views import Runs
from deployments.services.prefect_http import api_client
from tasks.adapters.processes import LONGEST_GRACE_SECONDS, TERM_GRACE_SECONDS
from tasks.adapters.runs import RunProcess
from tasks.contracts import Record
from tasks.errors import EnvironmentUnusable, UsageError

END_SECONDS = LONGEST_GRACE_SECONDS + 70.0  # the trainer's own grace, and what the flow needs to end after it
_POLL_SECONDS = 0.5
log = logging.getLogger("tuneloop.runs")
_LIVING = ("PENDING", "RUNNING")


class Cancelled(Record):
    """What became of a run that was cancelled."""

    run: str
    checkpoint_step: int | None
    text: str


def cancel(runs: Runs, run: FlowRun) -> Cancelled:
    """End a run; returns when it has ended.

    Raises:
        UsageError: it has ended before, or belongs to another run.
        EnvironmentUnusable: it works on another machine, or does not end.
    """
    if run.parent_task_run is not None:
        above = runs.parents.get(run.id, "")
        raise UsageError("this is a part of another run", where=run.id, remedy=f"tuneloop runs cancel {above[:8]}")
    now = runs.standing(run, None)
    if now.state in ENDED and run.state_type not in _LIVING:
        raise UsageError(f"the run has ended: {now.state}", where=run.id, remedy="there is nothing to cancel")
    process = runs.notes(run.id).process
    if process and not process.here:
        raise EnvironmentUnusable("the run works on another machine", where=process.host,
                                  remedy="give the command there")  # fmt: skip
    if process and process.alive:
        _end(process)
    with _server(runs.home) as client:
        if run.submitted and not process:
            _ask_worker(client, run)
        else:
            _set_state(client, run.id, "CANCELLED")
    step = newest_checkpoint(runs, run.id)
    return Cancelled(run=run.id, checkpoint_step=step, text=_in_words(step))


def newest_checkpoint(runs: Runs, run_id: str) -> int | None:
    """Step of the newest checkpoint that the training of a run left; None without one."""
    key = runs.training_of(run_id)
    folders = (runs.home / "work" / "train" / key / "checkpoints").glob("step-*") if key else ()
    steps = [name for folder in folders if (name := folder.name.removeprefix("step-")).isdigit()]
    return max((int(step) for step in steps), default=None)


def _in_words(step: int | None) -> str:
    if step is None:
        return "cancelled; what was finished is kept, and there is no checkpoint of a training"
    return f"cancelled; a checkpoint of step {step} is kept: the same command goes on from there"


def _end(process: RunProcess) -> None:
    """SIGTERM to the process of the flow alone: it ends its trainer in order, and then itself."""
    try:
        own = psutil.Process(process.pid)
        own.terminate()
        _wait(own)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired:
        why = f"it has not reacted to SIGTERM for {END_SECONDS:.0f} s"
        remedy = "end it with SIGKILL: training goes on from the last checkpoint"
        raise EnvironmentUnusable(
            "the run does not end", where=f"process {process.pid}", why=why, remedy=remedy
        ) from None  # fmt: skip


def _wait(process: psutil.Process) -> None:
    """Until it has ended; where that takes longer than usual, say what is waited for and for how long at most."""
    try:
        process.wait(TERM_GRACE_SECONDS)
    except psutil.TimeoutExpired:
        left = END_SECONDS - TERM_GRACE_SECONDS
        log.warning("the trainer finishes its step and writes a checkpoint first: at most %.0f s more", left)
        process.wait(left)


@contextlib.contextmanager
def _server(home: Path) -> Iterator[httpx.Client]:
    with prefect_server(home) as server, api_client(server.api_url) as client:
        yield client


def _ask_worker(client: httpx.Client, run: FlowRun) -> None:
    """Have the worker that runs it end it; a run that waits for a worker is cancelled at once."""
    if _state(client, run.id) not in _LIVING:
        _set_state(client, run.id, "CANCELLED")
        return
    _set_state(client, run.id, "CANCELLING")
    deadline = time.monotonic() + END_SECONDS
    while (found := _state(client, run.id)) in (*_LIVING, "CANCELLING"):
        if time.monotonic() > deadline:
            raise EnvironmentUnusable("the worker has not ended the run", where=run.id, why=f"it is {found}",
                                      remedy="is the worker running? `tuneloop status` shows it")  # fmt: skip
        time.sleep(_POLL_SECONDS)


def _state(client: httpx.Client, run_id: str) -> str:
    found: dict[str, Any] = client.get(f"/flow_runs/{run_id}").raise_for_status().json()
    return str(found["state_type"])


def _set_state(client: httpx.Client, run_id: str, kind: str) -> None:
    state = {"type": kind, "name": kind.capitalize(), "message": "cancelled with `tuneloop runs cancel`"}
    body = {"state": state, "force": kind == "CANCELLED"}
    client.post(f"/flow_runs/{run_id}/set_state", json=body).raise_for_status()
