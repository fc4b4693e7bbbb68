"""The training itself: TRL's trainer over a planned order of batches, with our loss and our checkpoints."""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from trl import SFTConfig, SFTTrainer

from tasks.train.amendments import rate_factor
from tasks.train.engines import zero
from tasks.train.explosion import check_gradient, check_loss, kinds_of
from tasks.train.keeper import Keeper, look
from tasks.train.plan import learning_rate_share
from tasks.train.recipe import Recipe
from tasks.train.resume import put_back
from tasks.train.run import Run


def train(run: Run, model: Any, tokenizer: Any) -> None:
    """Train to the end, or to the next step after somebody asked to stop; both leave a checkpoint or the result."""
    parameters = trainable(model)
    optimizer = make_optimizer(parameters, run.job.config)
    put_back(run, parameters, optimizer)
    if run.stop_agreed() or (look(run, model, parameters) and run.stop_agreed()):
        return
    if run.share.zero:
        optimizer = zero.start(run, model, optimizer, parameters)
    if not run.finished:
        trainer = PlannedTrainer(run, model, tokenizer, optimizer)
        run.start_clock()
        trainer.train()


def trainable(model: Any) -> dict[str, Any]:
    """The parameters that are learned, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def make_optimizer(parameters: dict[str, Any], config: Recipe) -> torch.optim.Optimizer:
    """AdamW with decoupled weight decay, all parameters in one pass over memory."""
    split = [p for p in parameters.values() if isinstance(p, DTensor)]  # one pass cannot take both kinds
    whole = [p for p in parameters.values() if not isinstance(p, DTensor)]
    groups = [{"params": kind} for kind in (whole, split) if kind]
    return torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


class PlannedTrainer(SFTTrainer):  # type: ignore[misc]
    """TRL's trainer; steps come in the planned order, and only learned tokens reach the head."""

    def __init__(self, run: Run, model: Any, tokenizer: Any, optimizer: Any) -> None:
        self.planned, self.learned = run, list(trainable(model).values())
        self.kinds = kinds_of(run.steps, [run.objective.units(example) for example in run.examples])
        self.zero = optimizer if run.share.zero else None
        own = [parameter.data for parameter in self.learned]
        super().__init__(
            model=model,
            args=_arguments(run),
            train_dataset=Dataset.from_dict({"input_ids": [[0]] * len(run.examples)}),  # rows are read from the run
            data_collator=lambda rows: rows,
            processing_class=tokenizer,
            optimizers=(optimizer, _schedule(optimizer, run)),
            callbacks=[Keeper(run, trainable(model), optimizer)],
        )
        for parameter, data in zip(self.learned, own, strict=True):
            if parameter.dtype != data.dtype:  # TRL rounds what is learned beside 4-bit weights to bf16
                parameter.data = data
        if self.zero:
            zero.tell_deepspeed(run.share)
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
        objective, share = self.planned.objective, self.planned.share
        part = share.part(inputs)
        units = sum(objective.units(example) for micro in inputs for example in micro)
        total = 0.0
        for number, (micro, weight) in enumerate(part, 1):
            batch = objective.batch(micro)
            loss = (self.zero.engine(batch) if self.zero else objective.loss(model, batch)) * weight / units
            self.backward(loss, last=number == len(part))
            total += float(loss.detach())
        if not self.zero:
            share.sum_gradients(self.learned)
        total = share.sum_value(total)
        check_loss(self.planned.curve, total, self.kinds)
        self.planned.last_loss = total
        return torch.tensor(total, device=self.args.device)

    def backward(self, loss: Tensor, last: bool) -> None:
        """Gradients of one micro-batch; DeepSpeed takes their mean over the processes, where the sum is wanted."""
        if self.zero:
            zero.backward(self.zero.engine, loss * self.planned.share.size, last)
        else:
            loss.backward()  # type: ignore[no-untyped-call]

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """The length of the gradient before it was clipped; noted for the curve. DeepSpeed tells it after the step."""
        if self.zero:
            return None
        norm = super()._get_grad_norm(model, grad_norm)
        self.planned.gradient_norm = None if norm is None else float(norm)
        if norm is not None:
            check_gradient(float(norm), self.planned.step + 1)
        return norm

    def floating_point_ops(self, *_: Any) -> int:
        """Not counted: the parent's formula does not know that most of the work on frozen weights is left out."""
        return 0


def _schedule(optimizer: Any, run: Run) -> Any:
    """The learning rate as a function of the step in the whole plan, wherever this process begins."""
    begin, total, warmup = run.step, len(run.steps), run.job.config.warmup_share

    def share(step: int) -> float:
        return learning_rate_share(begin + step, total, warmup) * rate_factor(run.job.amendments, begin + step)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)


def _arguments(run: Run) -> Any:
    """TRL's settings. What it would do by itself (saving, logging, packing, checkpointing of activations) is off."""
    return SFTConfig(
        output_dir=str(run.job.work),
        max_steps=len(run.steps) - run.step,
        per_device_train_batch_size=1,
        learning_rate=run.job.config.learning_rate,
        max_grad_norm=0.0 if run.share.zero else run.job.config.max_gradient_norm,  # DeepSpeed clips by itself
        seed=run.job.config.seed + run.share.rank,  # dropout of the processes differs; the adapter is made before
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
