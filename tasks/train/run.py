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
from tasks.digest import digest_of
from tasks.train.amendments import rate_factor
from tasks.train.checkpoints import Checkpoints, Found
from tasks.train.history import History
from tasks.train.objective import Objective
from tasks.train.plan import Job, MicroBatches, learning_rate_share
from tasks.train.position import Position, plan_digest
from tasks.train.share import Share
from tasks.train.validation import Validation

if TYPE_CHECKING:
    from tasks.train.random_state import RandomState

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
    share: Share = field(default_factory=Share)
    validation: Validation = field(default_factory=lambda: Validation((), every=1, patience=0, batch_rows=1))
    history: History = field(init=False)
    kept: Checkpoints = field(init=False)
    found: Found | None = None
    decisions: str = "{}"
    step: int = 0
    tokens: int = 0
    curve: list[LossPoint] = field(default_factory=list)
    last_loss: float = math.nan
    gradient_norm: float | None = None
    random_state: RandomState | None = None
    _seconds_before: float = 0.0
    _tokens_before: int = 0
    _began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        note = self.checkpoints / "history.json" if self.share.main else None
        self.history = History(note, lambda text: self.say({"event": "note", "text": text}))
        self.kept = Checkpoints(self.checkpoints, self.job.mirror, self.history.say)

    @property
    def checkpoints(self) -> Path:
        return self.job.work / "checkpoints"

    @property
    def seconds(self) -> float:
        """Wall seconds of training, those before an interruption included."""
        return self._seconds_before + time.monotonic() - self._began

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or validation says that more of them do no good."""
        return self.step >= len(self.steps) or self.validation.exhausted

    def stop_agreed(self) -> bool:
        """Whether any process was asked to stop; the same answer in all of them, and all of them have to call it."""
        return any(self.share.gathered(self.stop_asked()))

    def look_for_checkpoint(self) -> None:
        """Find the newest good checkpoint and count this start. On each machine one process looks, then the others."""
        first = self.share.local_rank == 0
        if first:
            self.found = self.kept.last_good(self.job.key)
        self.share.barrier()
        if not first:
            self.found = Checkpoints(self.checkpoints, "", lambda _: None).last_good(self.job.key)
        self.history.begin(self.found.position if self.found else None)

    def put_best_back(self, model: Any) -> None:
        """Where training stops by itself: have the model be the best one that validation saw, and say so."""
        best = self.validation.best
        if not best:
            return
        for name, parameter in model.named_parameters():
            if name in best:
                parameter.data.copy_(best[name])
        text = f"the adapter of step {self.validation.best_step} was written, the best of {len(self.validation.looks)}"
        self.history.say(f"{text} looks at validation; training ended at step {self.step}")

    def begin(self, position: Position) -> None:
        """Stand where a checkpoint stands."""
        self.step, self.tokens, self.curve = position.step, position.tokens, list(position.curve)
        self._seconds_before, self._tokens_before = position.seconds, position.tokens
        self.start_clock()

    def start_clock(self) -> None:
        """Count time from now on: what has been loaded until here is no training."""
        self._began = time.monotonic()

    def position(self, tensors: dict[str, str]) -> Position:
        """Where the training stands, for a checkpoint; `tensors` has type and shape of each learned tensor."""
        return Position(
            key=self.job.key,
            step=self.step,
            tokens=self.tokens,
            seconds=self.seconds,
            curve=tuple(self.curve),
            validation=tuple(self.validation.looks),
            plan=plan_digest(self.steps),
            dataset=self.job.dataset_digest,
            recipe=digest_of(self.job.config),
            processes=self.share.size,
            learning_rate=self.learning_rate(self.step),
            tensors=tensors,
            starts=self.history.starts,
            said=self.history.said,
        )

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step (from 0)."""
        config = self.job.config
        share = learning_rate_share(step, len(self.steps), config.warmup_share)
        return config.learning_rate * share * rate_factor(self.job.amendments, step)

    def advance(self) -> dict[str, Any]:
        """Count the step that was done; the progress event that tells of it."""
        rate = self.learning_rate(self.step)
        self.tokens += self._tokens_in(self.steps[self.step : self.step + 1])
        self.step += 1
        point = LossPoint(
            step=self.step,
            loss=self.last_loss,
            learning_rate=rate,
            tokens=self.tokens,
            gradient_norm=self.gradient_norm,
        )
        self.curve.append(point)
        passed = time.monotonic() - self._began
        done = self.tokens - self._tokens_before
        left = self._tokens_in(self.steps[self.step :])
        return {
            "event": "progress",
            "total": len(self.steps),
            **point.model_dump(exclude_none=True),
            "tokens_per_second": done / max(passed, 1e-6),
            "eta_seconds": passed * left / max(done, 1),
            "memory_mb": psutil.Process().memory_info().rss / 1e6,
        }

    def looked(self, loss: float) -> None:
        """Note what a look at validation saw in the last point of the curve."""
        if self.curve:
            self.curve[-1] = self.curve[-1].model_copy(update={"validation_loss": loss})

    def _tokens_in(self, steps: Sequence[MicroBatches]) -> int:
        return sum(self.objective.tokens(self.examples[row]) for step in steps for micro in step for row in micro)
