"""What happens between two steps: each is reported, validation looked at, checkpoints kept, and a stop obeyed."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from tasks.train.preflight import refuse_first_losses
from tasks.train.random_state import put_back
from tasks.train.resume import save
from tasks.train.run import Run


class Keeper(TrainerCallback):  # type: ignore[misc]
    """Reports each step, looks at validation, keeps checkpoints, and stops when asked to."""

    def __init__(self, run: Run, parameters: dict[str, Any], optimizer: Any) -> None:
        self.run, self.parameters, self.optimizer = run, parameters, optimizer

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """The first step after a resumption goes on with the random state of the checkpoint."""
        if self.run.random_state is not None:
            put_back(self.run.random_state)
            self.run.random_state = None

    def on_step_end(self, _args: Any, _state: Any, control: Any, *, model: Any, **_: Any) -> None:
        run = self.run
        event = run.advance()
        if run.objective.unit == "tokens":
            refuse_first_losses([point.loss for point in run.curve], model.config.get_text_config().vocab_size)
        stop = run.stop_agreed()
        if not stop and (seen := look(run, model, self.parameters)):
            event |= seen
            stop = run.stop_agreed()  # a look may take minutes, and the next step as many
        run.say(event)
        if stop or run.finished:
            control.should_training_stop = True
        if not run.finished and (stop or run.step % run.job.config.checkpoint_steps == 0):
            save(run, self.parameters, self.optimizer)


def look(run: Run, model: Any, parameters: dict[str, Any]) -> dict[str, Any]:
    """Look at validation where that is due at this step; what the progress event says of it.

    A look that a stop has cut off is made up for before the next step: it draws nothing, so it may come at any time.
    """
    if not run.validation.due(run.step, run.finished):
        return {}
    loss = run.validation.look(run.objective, model, run.share, run.step, parameters)
    run.looked(loss)
    return {"validation_loss": loss}
