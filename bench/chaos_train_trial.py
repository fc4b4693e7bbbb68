"""One training that is killed again and again, and what came out, to be compared with the one that was not."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench.chaos_train_attempts import Ending, Kill, run_attempt

_PER_TRAINING = 12  # kills of one training
Outcome = dict[str, Any]
Attempt = Callable[[Path, Kill | None], Ending]


def our_attempt(processes: int, usual_seconds: float) -> Attempt:
    """Starts of our trainer."""

    def start(job: Path, kill: Kill | None) -> Ending:
        return run_attempt(job, processes, kill, lambda: bool(complete(job)), usual_seconds)

    return start


def complete(job: Path) -> list[int]:
    """Steps whose checkpoints are complete."""
    return sorted(int(p.parent.name[5:]) for p in (job.parent / "work" / "checkpoints").glob("step-*/_COMPLETE.json"))


def reference(job: Path, attempt: Attempt) -> Outcome:
    """The uninterrupted training: adapter, curve, time from the first to the last step, writes of a save."""
    began = time.monotonic()
    ending = attempt(job, None)
    if ending.code != 0:
        raise SystemExit(
            f"the uninterrupted run ended with {ending.code}: {(job.parent / 'attempt.log').read_text()[-3000:]}"
        )
    counts = [e["writes"] for e in ending.events if e["event"] == "boundaries"]
    found = result(job) | {
        "seconds": time.monotonic() - began,
        "start_writes": max(counts[:1], default=1),
        "boundaries": max(counts[2:], default=1),
    }
    shutil.rmtree(job.parent)
    return found


def result(job: Path) -> Outcome:
    """Digest of the adapter's file, loss curve (with gradient norms, validation), and whether anything was learned."""
    from safetensors.torch import load_file

    work = job.parent / "work"
    weights = work / "adapter_model.safetensors"
    said = json.loads((work / "training.json").read_text(encoding="utf-8"))
    learned = any(bool(t.any()) for name, t in load_file(str(weights)).items() if "lora_B" in name)
    return {
        "adapter": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "curve": said["curve"] + said["validation"],
        "steps": said["steps"],
        "interruptions": said["interruptions"],
        "learned": learned,
    }


def trial(make_job: Callable[[int], Path], kills: Sequence[Kill], expected: Outcome, attempt: Attempt) -> Outcome:
    """Train with these kills, over as many trainings as they take; each has to end like the expected one."""
    left = list(kills)
    counted: list[dict[str, Any]] = []
    trainings = 0
    while left:
        job = make_job(trainings)
        left, own = _one_training(job, left, attempt, expected["steps"])
        same = _same(job, expected)
        counted += [kill | {"identical": same} for kill in own]
        trainings += 1
        if same:
            shutil.rmtree(job.parent)
    return {"kills": counted, "trainings": trainings}


def _same(job: Path, expected: Outcome) -> bool:
    if not (job.parent / "work" / "training.json").is_file():
        return False
    found = result(job)
    return bool(found["adapter"] == expected["adapter"] and found["curve"] == expected["curve"])


def _next(planned: list[Kill], resumable: bool) -> Kill | None:
    """The next planned kill. Before the first checkpoint it has to come later, or it would not count."""
    if not planned:
        return None
    if resumable:
        return planned.pop(0)
    if planned[0].kind == "start":
        return Kill("random", wait=0.1)
    kill = planned.pop(0)
    return replace(kill, saves=kill.saves + 1)


def _one_training(
    job: Path, planned: list[Kill], attempt: Attempt, steps: int
) -> tuple[list[Kill], list[dict[str, Any]]]:
    """Start and kill until it comes to its end; the kills that are left, and those that count.

    A kill counts if a checkpoint was complete, the last step was not done, and the next start has logged that it went
    on from a step after 0.
    """
    counted: list[dict[str, Any]] = []
    waiting: dict[str, Any] | None = None
    while True:
        kill = _next(planned, bool(complete(job))) if len(counted) < _PER_TRAINING else None
        ending = attempt(job, kill)
        if waiting is not None and ending.resumed() > 0:
            counted.append(waiting | {"resumed": ending.resumed()})
        waiting = None
        if ending.code == 0:
            return planned, counted
        if ending.code != -signal.SIGKILL:
            counted.append({"kind": "failed", "code": ending.code, "resumed": 0})
            return planned, counted
        there = complete(job)
        if kill and there and there[-1] > 0 and ending.last_step() < steps:
            waiting = asdict(kill) | {"checkpoint": there[-1], "step": ending.last_step()}
