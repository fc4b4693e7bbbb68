"""The training itself: TRL's trainer over a planned order of batches, with our loss and our checkpoints."""

from __future__ import annotations

import math
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from trl import SFTConfig, SFTTrainer

from tasks.errors import TrainingFailed
from tasks.train.checkpoint import last_good, restore
from tasks.train.keeper import Keeper
from tasks.train.plan import learning_rate_share
from tasks.train.recipe import Recipe
from tasks.train.run import Run


def train(run: Run, model: Any, tokenizer: Any) -> None:
    """Train to the end, or to the next step after somebody asked to stop; both leave a checkpoint or the result."""
    parameters = trainable(model)
    optimizer = make_optimizer(parameters, run.job.config)
    found = last_good(run.checkpoints, run.job.key)
    if found:
        folder, position = found
        run.random_state = restore(folder, parameters, optimizer, position.step)
        run.begin(position)
        run.say({"event": "resumed", "step": position.step})
    if not run.finished and not run.stop_asked():
        trainer = PlannedTrainer(run, model, tokenizer, optimizer)
        run.begin(found[1] if found else None)
        trainer.train()


def trainable(model: Any) -> dict[str, Any]:
    """The parameters that are learned, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def make_optimizer(parameters: dict[str, Any], config: Recipe) -> torch.optim.Optimizer:
    """AdamW with decoupled weight decay, all parameters in one pass over memory."""
    return torch.optim.AdamW(parameters.values(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


class PlannedTrainer(SFTTrainer):  # type: ignore[misc]
    """TRL's trainer; steps come in the planned order, and only learned tokens reach the head."""

    def __init__(self, run: Run, model: Any, tokenizer: Any, optimizer: Any) -> None:
        self.planned = run
        super().__init__(
            model=model,
            args=_arguments(run),
            train_dataset=Dataset.from_dict({"input_ids": [[0]] * len(run.examples)}),  # rows are read from the run
            data_collator=lambda rows: rows,
            processing_class=tokenizer,
            optimizers=(optimizer, _schedule(optimizer, run)),
            callbacks=[Keeper(run, trainable(model), optimizer)],
        )
        for callback in (PrinterCallback, ProgressCallback):
            self.remove_callback(callback)

    def get_train_dataloader(self) -> Any:
        """One item a step, a list of micro-batches; steps that are done are left out."""
        run = self.planned
        rest = [[[run.examples[row] for row in micro] for micro in step] for step in run.steps[run.step :]]
        return torch.utils.data.DataLoader(
            rest,  # type: ignore[arg-type]
            batch_size=None,
            collate_fn=lambda step: step,
            generator=torch.Generator(),
        )

    def training_step(self, model: Any, inputs: list[list[Any]], *_: Any) -> Tensor:
        """Gradients of one step: of the mean over all units of its micro-batches."""
        model.train()
        objective = self.planned.objective
        units = sum(objective.units(example) for micro in inputs for example in micro)
        total = 0.0
        for micro in inputs:
            loss = objective.loss(model, objective.batch(micro)) / units
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        if not math.isfinite(total):
            raise TrainingFailed(
                "the loss is no longer a number",
                where=f"step {self.planned.step + 1}",
                why=f"it became {total}",
                remedy="lower train.learning_rate or lengthen train.warmup_share",
            )
        self.planned.last_loss = total
        return torch.tensor(total, device=self.args.device)

    def floating_point_ops(self, *_: Any) -> int:
        """Not counted: the parent's formula does not know that most of the work on frozen weights is left out."""
        return 0


def _schedule(optimizer: Any, run: Run) -> Any:
    """The learning rate as a function of the step in the whole plan, wherever this process begins."""
    begin, total, warmup = run.step, len(run.steps), run.job.config.warmup_share
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_share(begin + step, total, warmup))


def _arguments(run: Run) -> Any:
    """TRL's settings. What it would do by itself (saving, logging, packing, checkpointing of activations) is off."""
    return SFTConfig(
        output_dir=str(run.job.work),
        max_steps=len(run.steps) - run.step,
        per_device_train_batch_size=1,
        learning_rate=run.job.config.learning_rate,
        max_grad_norm=run.job.config.max_gradient_norm,
        seed=run.job.config.seed,
        bf16=False,
        gradient_checkpointing=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
