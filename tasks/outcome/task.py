"""Flow endings: a refusal is an answer. It ends a flow run in the completed-type state `Refused`, never in `Failed`,
so that failure automations and retries do not fire.
"""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks.adapters.runs import note_output
from tasks.contracts import Candidate, DatasetVersion, RunOutcome
from tasks.errors import Refusal, TuneloopError
from tasks.outcome.conclude import refused
from tasks.progress import Progress, listening

P = ParamSpec("P")
R = TypeVar("R")
_MESSAGE = 2000  # characters of a state's message: a gate's reasons whole, a drift's list of words in part


def refusable(body: Callable[P, R]) -> Callable[P, R]:
    """Decorate a subflow's body: a Refusal that is raised in it becomes the state `Refused`."""

    @functools.wraps(body)
    def run(*args: P.args, **kwargs: P.kwargs) -> Any:
        try:
            result = body(*args, **kwargs)
        except Refusal as refusal:
            return Completed(name="Refused", message=refusal.what, data=refusal)
        _note_outputs(result)
        return result

    return run


def _note_outputs(result: object) -> None:
    """Note which outputs belong to this flow run and to the one above it, so that `tuneloop runs` finds them."""
    runs = [str(run) for run in (runtime.flow_run.root_flow_run_id, runtime.flow_run.id) if run]
    if isinstance(result, DatasetVersion):
        note_output(runs, "version", result.uri, result.address)
    if isinstance(result, Candidate):
        note_output(runs, "evaluate", result.evaluation.uri, result.trained.dataset)


def answer(state: State[R]) -> R:
    """What a subflow returned; a refusal or an error in it is raised here."""
    result: Any = state.result()
    if isinstance(result, Refusal):
        raise result
    return result  # type: ignore[no-any-return]


def answer_or_failure(state: State[R]) -> R | TuneloopError:
    """What a subflow returned, or the coded error that ended it; anything else that went wrong is raised here."""
    result: Any = state.result(raise_on_failure=False)
    if isinstance(result, BaseException) and not isinstance(result, TuneloopError):
        raise result
    return result  # type: ignore[no-any-return]


def concluding(body: Callable[P, RunOutcome]) -> Callable[P, RunOutcome]:
    """Decorate the main flow's body: adds seconds by stage and the run's page, and ends refusals as `Refused`."""

    @functools.wraps(body)
    def run(*args: P.args, **kwargs: P.kwargs) -> Any:
        seconds: dict[str, float] = {}

        def note(progress: Progress) -> None:
            if progress.state in ("finished", "failed"):
                seconds[progress.stage] = round(seconds.get(progress.stage, 0.0) + progress.seconds, 2)

        with listening(note):
            try:
                outcome = body(*args, **kwargs)
            except Refusal as refusal:
                outcome = refused(refusal)
        outcome = outcome.model_copy(update={"seconds": seconds, "run_url": runtime.flow_run.ui_url})
        return _as_state(outcome)

    return run


def _as_state(outcome: RunOutcome) -> Any:
    names = {
        "refused": "Refused",
        "data_refused": "Refused",
        "waiting_for_approval": "WaitingForApproval",
        "unchanged": "Unchanged",
    }
    if outcome.status not in names:
        return outcome
    message = textwrap.shorten("; ".join(outcome.reasons), _MESSAGE, placeholder=" […]")
    return Completed(name=names[outcome.status], message=message, data=outcome)
