"""What happens between two steps: each is reported, checkpoints are kept, and a training stops when asked to."""

from __future__ import annotations

from typing import Any

import torch
from transformers import TrainerCallback

from tasks.train.checkpoint import save
from tasks.train.plan import learning_rate_share
from tasks.train.run import Run


class Keeper(TrainerCallback):  # type: ignore[misc]
    """Reports each step, keeps checkpoints, and stops when asked to."""

    def __init__(self, run: Run, parameters: dict[str, Any], optimizer: Any) -> None:
        self.run, self.parameters, self.optimizer = run, parameters, optimizer

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """The first step after a resumption goes on with the random state of the checkpoint."""
        if self.run.random_state is not None:
            torch.set_rng_state(self.run.random_state)
            self.run.random_state = None

    def on_step_end(self, _args: Any, _state: Any, control: Any, **_: Any) -> None:
        run = self.run
        run.say(run.advance(_rate(run, run.step)))
        if run.stop_asked():
            control.should_training_stop = True
        if not run.finished and (run.stop_asked() or run.step % run.job.config.checkpoint_steps == 0):
            save(run.checkpoints, run.position(), self.parameters, self.optimizer)
            run.say({"event": "checkpoint", "step": run.step})


def _rate(run: Run, step: int) -> float:
    config = run.job.config
    return config.learning_rate * learning_rate_share(step, len(run.steps), config.warmup_share)
