"""One optimiser step of our trainer, made ready to be measured: the same objects as in a training, without its files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tasks.adapters.threads import physical_cores

Step = Callable[[int], float]
"""Does the step with this number and returns its loss."""
# Every switch off: the model's own forward and loss, 4-bit layers, activations computed again as TRL does by default.
PLAIN = {
    "packing": "off",
    "fused_layers": "off",
    "learned_head": "off",
    "compile": "off",
    "expand_nf4": "off",
    "activation_checkpointing": "on",
}


def recipe(**fields: Any) -> Any:
    """The default recipe with some fields of its own; compilation only if asked for."""
    from tasks.train.recipe import Recipe

    return Recipe.model_validate({"compile": "off", "epochs": 1, "batch_rows": 16, "micro_batch_rows": 16} | fields)


class Trained:
    """A model under training, its planned steps, and the decisions that were taken for it."""

    def __init__(self, base: Any, examples: Sequence[Any], config: Any, steps: Sequence[Any] | None = None) -> None:
        from tasks.train.adapter import build
        from tasks.train.methods import objective_of
        from tasks.train.plan import Job, Machine, decide, largest_micro_batch, plan_steps
        from tasks.train.shape import read_shape
        import torch

        folder = Path(tempfile.mkdtemp(prefix="tuneloop-bench-"))
        lengths = [len(example.input_ids) for example in examples]
        self.examples, self.shape = examples, read_shape(Path(base.path))
        self.steps = list(steps or plan_steps(lengths, config))
        job = Job(base=base, rows=folder / "none", dataset_digest="", config=config, work=folder, key="")
        machine = Machine(cuda=False, free_bytes=8_000_000_000, compiler=True, cores=physical_cores())
        largest = largest_micro_batch(self.steps, lengths)
        self.decisions = decide(config, base.parameters, sum(lengths), machine, self.shape, largest)
        self.objective = objective_of(config, 8192, 2)
        self.objective.decided(self.decisions)
        self.model = build(job, self.decisions)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=config.learning_rate, fused=True)

    def tokens(self, number: int) -> int:
        """Real tokens of a step."""
        return sum(len(self.examples[row].input_ids) for micro in self._micro(number) for row in micro)

    def learned(self, number: int) -> int:
        return sum(self.objective.units(self.examples[row]) for micro in self._micro(number) for row in micro)

    def row_lengths(self, number: int) -> list[int]:
        return [len(self.examples[row].input_ids) for micro in self._micro(number) for row in micro]

    def step(self, number: int) -> float:
        """Gradients of a step, and the optimiser."""
        import torch

        micro = [[self.examples[row] for row in rows] for rows in self._micro(number)]
        self.model.train()
        units = sum(self.objective.units(example) for part in micro for example in part)
        loss = 0.0
        for part in micro:
            share = self.objective.loss(self.model, self.objective.batch(part)) / units
            share.backward()
            loss += float(share.detach())
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss

    def _micro(self, number: int) -> Any:
        return self.steps[number % len(self.steps)]


def _silent(_: dict[str, Any]) -> None:
    """Progress is not shown while something is measured."""
