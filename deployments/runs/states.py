"""In which state a run is, in the words that people use for it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from deployments.runs.prefect_history import FlowRun
    from tasks.adapters.run_events import RunEvent

State = Literal[
    "draft", "queued", "provisioning", "preprocessing", "loading", "training", "recovering", "finalizing", "completed",
    "refused", "failed", "cancelled",
]  # fmt: skip
STATES: tuple[str, ...] = get_args(State)
ENDED = frozenset({"completed", "refused", "failed", "cancelled"})
_ENDINGS = frozenset({"finished", "failed", "interrupted"})
_OF_TASK: dict[str, State] = {
    "ingest": "preprocessing", "process": "preprocessing", "validate": "preprocessing", "version": "preprocessing",
    "dataset_at": "preprocessing", "resolve_base": "loading", "train": "loading", "evaluate": "finalizing",
    "champion": "finalizing", "gate": "finalizing", "register": "finalizing", "registered_version": "finalizing",
    "release_version": "finalizing", "asked": "finalizing",
}  # fmt: skip
_OF_PREFECT: dict[str, State] = {
    "SCHEDULED": "queued", "PENDING": "provisioning", "PAUSED": "queued", "FAILED": "failed", "CANCELLED": "cancelled",
    "CANCELLING": "cancelled",
}  # fmt: skip
_NAMES = {"WaitingForApproval": "waiting for approval", "Unchanged": "nothing new, nothing trained"}
INTERRUPTED = "interrupted: the same command goes on"
GONE = "its process is gone: the same command goes on"


class Standing(NamedTuple):
    """State of a run, and what else is to be said of it."""

    state: State
    detail: str = ""


def standing(
    run: FlowRun, *, process_alive: bool | None, tasks_at_work: Sequence[str], last_event: RunEvent | None
) -> Standing:
    """Where a run stands.

    Args:
        process_alive: whether its process runs; None where that is not known.
        tasks_at_work: names of its tasks that are running, subflows included.
        last_event: the last thing that its training said.
    """
    if run.state_type is None:
        return Standing("draft")
    if run.state_type == "COMPLETED":
        return Standing("refused" if run.state_name == "Refused" else "completed", _NAMES.get(run.state_name, ""))
    if run.state_type == "CRASHED":
        aborted = "aborted" in run.message
        return Standing("cancelled", INTERRUPTED) if aborted else Standing("failed", run.message)
    if run.state_type == "RUNNING":
        return _running(process_alive, tasks_at_work, last_event)
    detail = run.message if run.state_type == "FAILED" else ""
    return Standing(_OF_PREFECT[run.state_type], _first_line(detail))


def _running(process_alive: bool | None, tasks_at_work: Sequence[str], last_event: RunEvent | None) -> Standing:
    if process_alive is False:
        return Standing("failed", GONE)
    if "train" in tasks_at_work and last_event is not None and last_event.kind not in _ENDINGS:
        return Standing(last_event.stage, _step(last_event))
    known = [_OF_TASK[name] for name in tasks_at_work if name in _OF_TASK]
    return Standing(known[-1] if known else "preprocessing")


def _step(event: RunEvent) -> str:
    return f"step {event.step} of {event.total}" if event.step and event.total else ""


def _first_line(message: str) -> str:
    """The headline of what a failed run says, without the name of the exception's class in front of it."""
    line = message.strip().splitlines()[0] if message.strip() else ""
    return line.removeprefix("Flow run encountered an exception: ")
