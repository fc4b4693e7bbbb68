"""A training under way: what is fixed, and where it stands."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from tasks.contracts import LossPoint
from tasks.train.checkpoint import Position
from tasks.train.objective import Objective
from tasks.train.plan import Job, MicroBatches

if TYPE_CHECKING:
    from torch import Tensor

Say = Callable[[dict[str, Any]], None]


@dataclass
class Run:
    """The state of one training; the trainer and its callbacks move it on."""

    job: Job
    objective: Objective[Any]
    examples: Sequence[Any]
    steps: Sequence[MicroBatches]
    say: Say
    stop_asked: Callable[[], bool]
    step: int = 0
    tokens: int = 0
    curve: list[LossPoint] = field(default_factory=list)
    last_loss: float = math.nan
    random_state: Tensor | None = None
    _seconds_before: float = 0.0
    _tokens_before: int = 0
    _began: float = field(default_factory=time.monotonic)

    @property
    def checkpoints(self) -> Path:
        return self.job.work / "checkpoints"

    @property
    def seconds(self) -> float:
        """Wall seconds of training, those before an interruption included."""
        return self._seconds_before + time.monotonic() - self._began

    @property
    def finished(self) -> bool:
        return self.step >= len(self.steps)

    def begin(self, position: Position | None) -> None:
        """Start the clock, at the beginning or where a checkpoint stands."""
        if position:
            self.step, self.tokens, self.curve = position.step, position.tokens, list(position.curve)
            self._seconds_before, self._tokens_before = position.seconds, position.tokens
        self._began = time.monotonic()

    def position(self) -> Position:
        return Position(
            key=self.job.key, step=self.step, tokens=self.tokens, seconds=self.seconds, curve=tuple(self.curve)
        )

    def advance(self, learning_rate: float) -> dict[str, Any]:
        """Count the step that was done; the progress event that tells of it."""
        loss = self.last_loss
        self.tokens += self._tokens_in(self.steps[self.step : self.step + 1])
        self.step += 1
        self.curve.append(LossPoint(step=self.step, loss=loss, learning_rate=learning_rate, tokens=self.tokens))
        passed = time.monotonic() - self._began
        done = self.tokens - self._tokens_before
        left = self._tokens_in(self.steps[self.step :])
        return {
            "event": "progress",
            "step": self.step,
            "total": len(self.steps),
            "loss": loss,
            "learning_rate": learning_rate,
            "tokens": self.tokens,
            "tokens_per_second": done / max(passed, 1e-6),
            "eta_seconds": passed * left / max(done, 1),
            "memory_mb": psutil.Process().memory_info().rss / 1e6,
        }

    def _tokens_in(self, steps: Sequence[MicroBatches]) -> int:
        return sum(self.objective.tokens(self.examples[row]) for step in steps for micro in step for row in micro)
