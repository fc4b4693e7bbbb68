"""How a run ended, decided from what its stages returned. Pure."""

from __future__ import annotations

from tasks.contracts import Candidate, DatasetVersion, Release, RunOutcome
from tasks.errors import Refusal


def conclude(dataset: DatasetVersion, candidate: Candidate, release: Release | None, reason: str = "") -> RunOutcome:
    """The outcome of a run that went through all its stages.

    Args:
        release: None where the gate refused the candidate.
        reason: why the run was started (e.g. a drift report in one sentence); repeated when nothing changed.
    """
    outcome = RunOutcome(
        status="done",
        exit_code=0,
        dataset=dataset,
        trained=candidate.trained.new,
        model=candidate.trained,
        evaluation=candidate.evaluation,
        gate=candidate.gate,
        registered=candidate.registered,
        release=release,
    )
    if release is None:
        return outcome.model_copy(update={"status": "refused", "exit_code": 10, "reasons": candidate.gate.refusals})
    outcome = outcome.model_copy(update={"registered": release.model, "reasons": (release.text,)})
    if release.status == "waiting_for_approval":
        return outcome.model_copy(update={"status": release.status, "exit_code": 11})
    if release.status == "promoted" or candidate.trained.new:
        return outcome
    return outcome.model_copy(update={"status": "unchanged", "reasons": _nothing_new(dataset, release, reason)})


def _nothing_new(dataset: DatasetVersion, release: Release, reason: str) -> tuple[str, ...]:
    said = (f"nothing new at the sources since {dataset.address}: no training", release.text)
    if not reason:
        return said
    needed = "to learn what came in lately, add labelled rows like it to the sources and run again"
    return (*said, needed, f"this run was started because {reason}")


def refused(refusal: Refusal) -> RunOutcome:
    """The outcome of a run that a stage refused to go on with."""
    status = "data_refused" if refusal.status == "data_refused" else "refused"
    details = tuple(f"{name}: {text}" for name, text in refusal.details() if text)
    return RunOutcome(status=status, exit_code=refusal.exit_code, reasons=(refusal.what, *details))
