"""What can go wrong with a training: each kind with its code, a plain text and a remedy. Pure: evidence → Failure.

Nothing here keeps a value of a row: of an exception only its type, numbers and texts of known libraries are looked at.
docs/errors.md has a section for every code.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import Field

from tasks.contracts import Record
from tasks.errors import BudgetRefused, EnvironmentUnusable, TrainingFailed, TuneloopError, UsageError
from tasks.train.failure_signs import signs_in

OOM_GPU, OOM_HOST, OOM_KILLED = "TL-TRAIN-OOM-GPU", "TL-TRAIN-OOM-HOST", "TL-TRAIN-OOM-KILLED"
NAN, SPIKE, DATA = "TL-TRAIN-NAN", "TL-TRAIN-SPIKE", "TL-TRAIN-DATA"
DISK, NETWORK, NCCL = "TL-TRAIN-DISK", "TL-TRAIN-NETWORK", "TL-TRAIN-NCCL"
EVICTED, IMAGE, CAPACITY = "TL-TRAIN-EVICTED", "TL-TRAIN-IMAGE", "TL-TRAIN-CAPACITY"
TIMEOUT, COST, STOPPED = "TL-TRAIN-TIMEOUT", "TL-TRAIN-COST", "TL-TRAIN-STOPPED"
KILLED, CRASH = "TL-TRAIN-KILLED", "TL-TRAIN-CRASH"

STOPPED_EXIT = 128 + signal.SIGTERM
_KILLED_EXIT = 128 + signal.SIGKILL
_GOES_ON = "the same command goes on from the last checkpoint"


class Kind(NamedTuple):
    """What is the same in all failures of one code."""

    what: str
    remedy: str
    error: type[TuneloopError]


KINDS: dict[str, Kind] = {
    OOM_GPU: Kind(
        "the GPU's memory ran out",
        "lower train.micro_batch_rows or checks.max_tokens, set train.activation_checkpointing: on, or take a larger "
        "GPU",
        TrainingFailed,
    ),
    OOM_HOST: Kind(
        "the machine's memory ran out",
        "close other programs, lower train.micro_batch_rows or checks.max_tokens, or set "
        f"train.activation_checkpointing: on; {_GOES_ON}",
        TrainingFailed,
    ),
    OOM_KILLED: Kind(
        "the container was ended because it used more memory than it may",
        "raise the memory limit of the training pods, or lower train.micro_batch_rows or checks.max_tokens",
        TrainingFailed,
    ),
    NAN: Kind(
        "the loss is no longer a number",
        "lower train.learning_rate or lengthen train.warmup_share",
        TrainingFailed,
    ),
    SPIKE: Kind(
        "the loss exploded",
        "lower train.learning_rate, lengthen train.warmup_share or lower train.max_gradient_norm",
        TrainingFailed,
    ),
    DATA: Kind(
        "the training rows cannot be used",
        "prepare the dataset again; `tuneloop data verify` says whether its files are as they were written",
        TrainingFailed,
    ),
    DISK: Kind(
        "the disk is full",
        f"free some space or set TUNELOOP_HOME to another disk, then repeat the command: {_GOES_ON}",
        EnvironmentUnusable,
    ),
    NETWORK: Kind(
        "a server that the training needs did not answer",
        f"see whether the hub, the object store and the network work from this machine; {_GOES_ON}",
        EnvironmentUnusable,
    ),
    NCCL: Kind(
        "the processes of the training lost touch with one another",
        "see whether all machines run and reach one another (NCCL_DEBUG=INFO shows how they try); " + _GOES_ON,
        TrainingFailed,
    ),
    EVICTED: Kind(
        "the machine was taken away while it trained",
        f"use on-demand machines, or save more often with train.checkpoint_steps; {_GOES_ON}",
        TrainingFailed,
    ),
    IMAGE: Kind(
        "the image of the training cannot be pulled",
        "correct the image's name or tag, or the pull secret of the namespace",
        EnvironmentUnusable,
    ),
    CAPACITY: Kind(
        "no machine of the kind that was asked for is free",
        f"wait, allow another kind of GPU or region, or use on-demand machines; {_GOES_ON}",
        BudgetRefused,
    ),
    TIMEOUT: Kind(
        "training took longer than it may",
        "raise train.timeout_minutes, or lower train.epochs or train.max_rows; the same command goes on from the last "
        "checkpoint if only the timeout was too short for this machine",
        TrainingFailed,
    ),
    COST: Kind(
        "training cost more than it may",
        "raise train.max_cost, or lower train.epochs or train.max_rows; " + _GOES_ON,
        BudgetRefused,
    ),
    STOPPED: Kind(
        "training was stopped",
        "repeat the command: it goes on from the checkpoint that was written",
        TrainingFailed,
    ),
    KILLED: Kind(
        "the trainer was killed",
        f"see who or what ended it (SIGKILL) in the system's log; {_GOES_ON}",
        TrainingFailed,
    ),
    CRASH: Kind(
        "the trainer ended unexpectedly",
        f"read the end of the log, or make a support bundle with `tuneloop support latest`; {_GOES_ON}",
        TrainingFailed,
    ),
}
# Which failure explains the others, where several processes or signs tell different things: the most telling first.
_CAUSES = (DATA, OOM_GPU, OOM_HOST, OOM_KILLED, DISK, NAN, SPIKE, IMAGE, CAPACITY, EVICTED, NETWORK, NCCL, CRASH)


class Failure(Record):
    """One thing that went wrong, as people and programs are told."""

    code: str
    text: str = Field(description="What happened.")
    remedy: str = Field(description="What to do next.")
    where: str = Field("", description="Step, row, file, device or pod.")
    why: str = Field("", description="The cause as far as it is known; never the content of a row.")
    step: int | None = Field(None, description="Optimiser steps done when it happened; None: not known.")

    def as_error(self) -> TuneloopError:
        """The coded error that ends the training."""
        kind = KINDS.get(self.code)
        error = kind.error if kind else _ERRORS.get(self.code, TrainingFailed)
        return error(self.text, where=self.where, why=self.why, remedy=self.remedy, code=self.code)


_ERRORS = {kind.code: kind for kind in (TrainingFailed, UsageError, EnvironmentUnusable, BudgetRefused)}


class PodEnd(Record):
    """How a pod ended, as Kubernetes says it (status of the pod or of its container)."""

    reason: str = Field("", description="OOMKilled, Evicted, Preempting, ErrImagePull, Unschedulable, ...")
    exit_code: int | None = None
    message: str = ""
    name: str = ""


class Evidence(Record):
    """What is known of an attempt that did not end well."""

    exit_code: int = Field(description="Of the trainer process; negative: ended by that signal.")
    seconds: float = 0.0
    timeout_seconds: float = Field(0.0, description="Time this attempt had; 0: no limit.")
    said: tuple[Failure, ...] = Field((), description="What the trainer's processes said themselves.")
    oom_kills: int = Field(0, description="Processes that the kernel ended for lack of memory meanwhile.")
    pods: tuple[PodEnd, ...] = ()
    log_tail: tuple[str, ...] = Field((), description="Last lines of the log.")
    log: str = Field("", description="Where the log lies.")
    step: int | None = Field(None, description="Last step that was reported.")


def failure(code: str, *, where: str = "", why: str = "", step: int | None = None) -> Failure:
    """A failure of a known kind, in the words of its kind."""
    kind = KINDS[code]
    return Failure(code=code, text=kind.what, remedy=kind.remedy, where=where, why=why, step=step)


def classify(evidence: Evidence) -> Failure:
    """The failure behind the evidence. The order is from what is certain to what is likely."""
    if evidence.timeout_seconds and evidence.seconds >= evidence.timeout_seconds:
        why = f"it was stopped after {evidence.seconds / 60:.1f} minutes"
        return failure(TIMEOUT, where="train.timeout_minutes", why=why, step=evidence.step)
    pod = next((found for found in map(of_pod, evidence.pods) if found), None)
    found = pod or _most_telling(evidence.said) or _of_ending(evidence)
    if found.code in (NCCL, CRASH):  # a process that only lost another one, which ended for a reason of its own
        others = (_of_memory(evidence), of_text("\n".join(evidence.log_tail)))
        found = _most_telling([found, *(other for other in others if other)]) or found
    return found if found.step is not None else found.model_copy(update={"step": evidence.step})


def _most_telling(said: Sequence[Failure]) -> Failure | None:
    """The failure that caused the others; errors of other kinds (wrong usage) count before all of them."""
    return min(said, key=lambda f: _CAUSES.index(f.code) if f.code in _CAUSES else -1, default=None)


def _of_ending(evidence: Evidence) -> Failure:
    code = evidence.exit_code
    if code == STOPPED_EXIT or code == -signal.SIGTERM:
        return failure(STOPPED, why="the trainer was asked to end (SIGTERM)")
    if found := _of_memory(evidence):
        return found
    if code in (-signal.SIGKILL, _KILLED_EXIT):
        return failure(KILLED, where=evidence.log, why="signal SIGKILL, and no sign that memory ran out")
    if found := of_text("\n".join(evidence.log_tail)):
        return found
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return failure(CRASH, where=evidence.log, why=how)


def _of_memory(evidence: Evidence) -> Failure | None:
    if evidence.oom_kills and evidence.exit_code in (-signal.SIGKILL, _KILLED_EXIT, 1):
        why = "the kernel ended the trainer (SIGKILL) and counts a process ended for lack of memory"
        return failure(OOM_HOST, where="main memory", why=why)
    return None


def of_text(text: str) -> Failure | None:
    """The failure that texts of known libraries tell of; the most telling of several."""
    found = [failure(sign.code, where=sign.where, why=sign.why) for sign in signs_in(text)]
    return _most_telling(found)


_POD_REASONS = {
    "OOMKilled": OOM_KILLED,
    "Evicted": EVICTED,
    "Preempting": EVICTED,
    "PreemptionByScheduler": EVICTED,
    "TerminationByKubelet": EVICTED,
    "DeletionByTaintManager": EVICTED,
    "NodeLost": EVICTED,
    "Shutdown": EVICTED,
    "Terminated": EVICTED,
    "NodeShutdown": EVICTED,
    "ErrImagePull": IMAGE,
    "ImagePullBackOff": IMAGE,
    "InvalidImageName": IMAGE,
    "ErrImageNeverPull": IMAGE,
    "Unschedulable": CAPACITY,
    "OutOfcpu": CAPACITY,
    "OutOfmemory": CAPACITY,
    "OutOfnvidia.com/gpu": CAPACITY,
    "UnexpectedAdmissionError": CAPACITY,
    "DeadlineExceeded": TIMEOUT,
}


def of_pod(pod: PodEnd) -> Failure | None:
    """The failure that a pod's status tells of; None where it only says that the trainer ended.

    A memory limit that is hit is `OOMKilled`, by some runtimes only exit code 137 with reason `Error`. An eviction for
    lack of the node's memory says so in its message and is met like lack of memory.
    """
    code = _POD_REASONS.get(pod.reason)
    if code == EVICTED and "low on resource: memory" in pod.message:
        code = OOM_KILLED
    if code is None and pod.exit_code == _KILLED_EXIT and "memory" in pod.message.lower():
        code = OOM_KILLED
    if code is None:
        return None
    exit_code = f", exit code {pod.exit_code}" if pod.exit_code is not None else ""
    return failure(code, where=f"pod {pod.name}" if pod.name else "", why=f"Kubernetes: {pod.reason}{exit_code}")
