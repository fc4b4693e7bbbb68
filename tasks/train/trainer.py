"""The training itself: TRL's trainer over a planned order of batches, with our loss and our checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from datasets import Dataset
from torch import Tensor
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from trl import SFTConfig, SFTTrainer

from tasks.contracts import LossPoint
from tasks.errors import TrainingFailed
from tasks.tokens import Encoded
from tasks.train.checkpoint import Position, last_good, restore, save
from tasks.train.data import IGNORED, collate
from tasks.train.fused import AnswerLoss
from tasks.train.plan import Job, MicroBatches, learning_rate_share

Say = Callable[[dict[str, Any]], None]
MAX_GRADIENT_NORM = 1.0


@dataclass
class Run:
    """A training under way: what is fixed, and where it stands."""

    job: Job
    examples: Sequence[Encoded]
    steps: Sequence[MicroBatches]
    say: Say
    stop_asked: Callable[[], bool]
    step: int = 0
    tokens: int = 0
    curve: list[LossPoint] = field(default_factory=list)
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

    def advance(self, loss: float, learning_rate: float, tokens: int) -> dict[str, Any]:
        """Count a step that was done; the progress event that tells of it."""
        self.step += 1
        self.tokens += tokens
        self.curve.append(LossPoint(step=self.step, loss=loss, learning_rate=learning_rate, tokens=self.tokens))
        passed = time.monotonic() - self._began
        done = self.tokens - self._tokens_before
        left = sum(len(self.examples[row].input_ids) for step in self.steps[self.step :] for m in step for row in m)
        return {
            "event": "progress", "step": self.step, "total": len(self.steps), "loss": loss,
            "learning_rate": learning_rate, "tokens": self.tokens, "tokens_per_second": done / max(passed, 1e-6),
            "eta_seconds": passed * left / max(done, 1), "memory_mb": psutil.Process().memory_info().rss / 1e6,
        }


class PlannedTrainer(SFTTrainer):  # type: ignore[misc]
    """TRL's trainer; steps come in the planned order, and only learned tokens reach the head."""

    def __init__(self, run: Run, model: Any, tokenizer: Any, optimizer: Any) -> None:
        self.planned = run
        super().__init__(
            model=model,
            args=_arguments(run),
            train_dataset=_dataset(run.examples),
            data_collator=lambda rows: rows,
            processing_class=tokenizer,
            optimizers=(optimizer, _schedule(optimizer, run)),
            callbacks=[_Keeper(run)],
        )
        for callback in (PrinterCallback, ProgressCallback):
            self.remove_callback(callback)

    def get_train_dataloader(self) -> Any:
        """One item a step, a list of micro-batches; steps that are done are left out."""
        run, pad = self.planned, self.processing_class.pad_token_id or 0
        rest = [
            [collate([run.examples[row] for row in micro], pad) for micro in step] for step in run.steps[run.step :]
        ]
        return torch.utils.data.DataLoader(
            rest, batch_size=None, collate_fn=lambda item: item, generator=torch.Generator()
        )

    def training_step(self, model: Any, inputs: list[dict[str, Tensor]], num_items_in_batch: Any = None) -> Tensor:
        """Gradients of one step: the mean over all learned tokens of its micro-batches."""
        model.train()
        learned = sum(int((micro["labels"][:, 1:] != IGNORED).sum()) for micro in inputs)
        total = torch.zeros(())
        for micro in inputs:
            loss = self.compute_loss(model, micro) / learned
            loss.backward()
            total += loss.detach().cpu()
        if not math.isfinite(total.item()):
            raise TrainingFailed(
                "the loss is no longer a number", where=f"step {self.planned.step + 1}",
                why=f"it became {total.item()}", remedy="lower train.learning_rate or lengthen train.warmup_share",
            )
        return total

    def compute_loss(self, model: Any, inputs: dict[str, Tensor], *_: Any, **__: Any) -> Tensor:
        """Summed cross-entropy of the learned tokens; states of all others never meet the vocabulary."""
        causal = model.get_base_model()
        ids, targets = inputs["input_ids"].to(model.device), inputs["labels"][:, 1:].to(model.device)
        wanted = targets != IGNORED
        hidden = causal.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state[:, :-1][wanted]
        return AnswerLoss.apply(hidden, causal.get_output_embeddings().weight, targets[wanted])  # type: ignore[no-any-return]


class _Keeper(TrainerCallback):  # type: ignore[misc]
    """Reports each step and keeps checkpoints."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.run.random_state is not None:
            torch.set_rng_state(self.run.random_state)
            self.run.random_state = None


def _arguments(run: Run) -> Any:
    config = run.job.config
    return SFTConfig(
        output_dir=str(run.job.work), max_steps=len(run.steps) - run.step, per_device_train_batch_size=1,
        learning_rate=config.learning_rate, max_grad_norm=MAX_GRADIENT_NORM, seed=config.seed, bf16=False,
        gradient_checkpointing=False, logging_strategy="no", save_strategy="no", report_to="none", disable_tqdm=True,
        dataset_kwargs={"skip_prepare_dataset": True}, remove_unused_columns=False, dataloader_pin_memory=False,
    )
