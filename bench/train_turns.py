"""Trainers in processes of their own that take turns, so that all of them see the same machine."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.peers import ROOT, python_of
from bench.train_peers.turns import MARK
from tasks.adapters.threads import thread_environment

_TAIL = 3000
_OURS, WAITING = "tuneloop_sft", ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@dataclass
class Variant:
    """What is measured: a script of `bench/train_peers` with what it is asked to do."""

    name: str
    script: str
    asked: dict[str, Any]
    environment: str | None = None
    """Name of a peer's own virtual environment (bench/peers.py); None: this one."""


@dataclass
class Trainer:
    """A running variant, and what it said of each of its steps."""

    variant: Variant
    process: subprocess.Popen[str]
    log: Path
    ready: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    gemm: list[float] = field(default_factory=list)
    products: list[float] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)

    def ask(self, command: str) -> dict[str, Any]:
        """Send a command; its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(MARK):
                found: dict[str, Any] = json.loads(line[len(MARK) :])
                return found
        raise RuntimeError(f"{self.variant.name} ended:\n{self.log.read_text(encoding='utf-8')[-_TAIL:]}")

    def step(self) -> None:
        self.steps.append(self.ask("step"))

    def end(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(timeout=60)


def start(variant: Variant) -> Trainer:
    """Start a trainer and wait until it stands before its first step."""
    log = Path(tempfile.mkstemp(prefix=f"bench-{variant.script}-", suffix=".log")[1])
    argument = json.dumps(variant.asked)
    if variant.environment:
        script = ROOT / "bench" / "train_peers" / f"{variant.script}.py"
        command = [str(python_of(variant.environment)), str(script), argument]
    else:
        command = [sys.executable, "-m", f"bench.train_peers.{variant.script}", argument]
    offline = {**os.environ, **_threads(variant), "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "true"}
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, env=offline, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    trainer = Trainer(variant, process, log)
    trainer.ready = trainer.answer()
    return trainer


def _threads(variant: Variant) -> dict[str, str]:
    """Threads wait in the same way in all trainers: on a busy machine those that spin would lose many times over.

    What else the environment of our workers sets is part of what is measured.
    """
    chosen = thread_environment()
    return chosen if variant.script == _OURS else {name: chosen[name] for name in WAITING}


def rounds(
    variants: Sequence[Variant], count: int, *, warm: int = 1, gemm: bool = False, validate: bool = False
) -> Any:
    """Every variant does one step a round, in an order that turns around from round to round.

    Returns for each name: seconds and tokens of each step (the first `warm` apart), GEMM rates (`gemm`: of a square
    product, and of the step's own products; after the last round a step with its parts), validation loss.
    """
    trainers = [start(variant) for variant in variants]
    try:
        for number in range(count + warm):
            for trainer in trainers if number % 2 else reversed(trainers):
                if gemm:
                    trainer.gemm.append(trainer.ask("gemm")["rate"])
                    trainer.products.append(trainer.ask("products")["rate"])
                trainer.step()
        for trainer in trainers if gemm else ():
            trainer.last = trainer.ask("parts")
        return {t.variant.name: _report(t, warm, t.ask("validate")["loss"] if validate else None) for t in trainers}
    finally:
        for trainer in trainers:
            trainer.end()


def _report(trainer: Trainer, warm: int, validation: float | None) -> dict[str, Any]:
    measured = trainer.steps[warm:]
    return {
        "ready": trainer.ready,
        "warm_seconds": [step["seconds"] for step in trainer.steps[:warm]],
        "seconds": [step["seconds"] for step in measured],
        "tokens": [step["tokens"] for step in measured],
        "losses": [step["loss"] for step in trainer.steps],
        "rates": [step["tokens"] / step["seconds"] for step in measured],
        "gemm": trainer.gemm[warm:],
        "products": trainer.products[warm:],
        "last": trainer.last,
        "validation": validation,
    }


def paired(found: dict[str, Any], upper: str, lower: str, what: str = "rates") -> list[float]:
    """Round by round: one variant's figure over the other's."""
    return [a / b for a, b in zip(found[upper][what], found[lower][what], strict=True)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, and the interval of order statistics that holds it in at least 95 of 100 cases (sign test)."""
    ordered = sorted(values)
    count = len(ordered)
    reach = max(0, int((count - 1.96 * count**0.5) / 2))
    return {
        "median": round(statistics.median(ordered), 3),
        "low": round(ordered[reach], 3),
        "high": round(ordered[count - 1 - reach], 3),
        "pairs": count,
    }


def overall(found: dict[str, Any], upper: str, lower: str) -> float:
    """Tokens a second over all rounds together: rows of a step may differ between two trainers, whole epochs not."""
    speed: list[float] = [sum(found[name]["tokens"]) / sum(found[name]["seconds"]) for name in (upper, lower)]
    return speed[0] / speed[1]


def stamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
