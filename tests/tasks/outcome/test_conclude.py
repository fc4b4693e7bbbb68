"""How a run ended: every status with its exit code and its reasons."""

from __future__ import annotations

import pytest

from tasks.contracts import Candidate, GateDecision, GateReason, Release, RunOutcome
from tasks.errors import BudgetRefused, DataRefused
from tasks.outcome.conclude import conclude, refused
from tests.deployments.example_outcome import outcome as example

DONE = example()


def candidate(*, new: bool, passed: bool = True) -> Candidate:
    assert DONE.model is not None
    assert DONE.evaluation is not None
    reasons = (GateReason(rule="beats_nearest", passed=passed, text="it is not better"),)
    return Candidate(
        trained=DONE.model.model_copy(update={"new": new}), evaluation=DONE.evaluation,
        gate=GateDecision(passed=passed, reasons=reasons), registered=DONE.registered if passed else None,
    )  # fmt: skip


def released(status: str) -> Release:
    assert DONE.registered is not None
    return Release(model=DONE.registered, status=status, text=f"it is {status}")


def ended(new: bool, status: str | None, reason: str = "") -> RunOutcome:
    assert DONE.dataset is not None
    made = candidate(new=new, passed=status is not None)
    return conclude(DONE.dataset, made, released(status) if status else None, reason)


@pytest.mark.parametrize(
    ("new", "release", "status", "exit_code"),
    [
        (True, "promoted", "done", 0),
        (False, "promoted", "done", 0),
        (True, "kept_previous", "done", 0),
        (False, "already_champion", "unchanged", 0),
        (False, "kept_previous", "unchanged", 0),
        (True, "waiting_for_approval", "waiting_for_approval", 11),
        (False, "waiting_for_approval", "waiting_for_approval", 11),
        (True, None, "refused", 10),
    ],
)
def test_status_and_exit_code(new: bool, release: str | None, status: str, exit_code: int) -> None:
    outcome = ended(new, release)
    assert (outcome.status, outcome.exit_code) == (status, exit_code)
    assert outcome.reasons


def test_a_refused_candidate_says_why() -> None:
    assert ended(True, None).reasons == ("it is not better",)


def test_unchanged_names_what_is_needed_when_drift_started_the_run() -> None:
    told = " ".join(ended(False, "already_champion", "requests drifted").reasons)
    assert told.index("add labelled rows") < told.index("requests drifted")  # a long cause is cut at its end
    assert "add labelled rows" not in " ".join(ended(False, "already_champion").reasons)


@pytest.mark.parametrize(
    ("refusal", "status", "exit_code"),
    [(DataRefused("empty", where="a.csv"), "data_refused", 20), (BudgetRefused("too dear"), "refused", 40)],
)
def test_refusals_of_a_stage(refusal: DataRefused | BudgetRefused, status: str, exit_code: int) -> None:
    outcome = refused(refusal)
    assert (outcome.status, outcome.exit_code) == (status, exit_code)
    assert refusal.what in outcome.reasons
