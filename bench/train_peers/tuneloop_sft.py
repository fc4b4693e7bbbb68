"""Our trainer, with any switches: the same objects as in a training, which waits for its turn before each step."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from bench.train_peers import parts
from bench.train_peers.turns import Product, Turns, mean_loss, options, rows_of, tell
from tasks.adapters.devices import cpu_multiplies_bf16
from tasks.adapters.threads import physical_cores


def main() -> None:
    asked = options()
    if asked.get("compiler_cache"):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = asked["compiler_cache"]
    from tasks.train.trainer import PlannedTrainer, make_optimizer, trainable

    run, model, tokenizer, decisions = prepared(asked)
    optimizer = make_optimizer(trainable(model), run.job.config)
    trainer = PlannedTrainer(run, model, tokenizer, optimizer)
    validation = rows_of(asked["validation"])
    turns = Turns(lambda: validated(model, validation), products_of(run), parts.started)
    trainer.add_callback(InTurns(run, turns))
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    tell(ready=True, decisions=decisions.texts(), learned_weights=learned)
    run.start_clock()
    trainer.train()
    turns.wait()


def prepared(asked: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
    """A training as far as its first step."""
    from tasks.adapters.base_models import resolve
    from tasks.tokens import load_tokenizer
    from tasks.train.adapter import build
    from tasks.train.methods import objective_of
    from tasks.train.plan import Job, Machine, decide, largest_micro_batch, plan_steps
    from tasks.train.recipe import Recipe
    from tasks.train.run import Run
    from tasks.train.shape import read_shape

    base, examples = resolve(asked["model"]), encoded(asked["rows"])
    enough = {"epochs": asked["steps"] * asked["batch_rows"] / len(examples) + 1}
    config = Recipe.model_validate(recipe_fields(asked) | enough)
    lengths = [len(example.input_ids) for example in examples]
    steps = plan_steps(lengths, config)[: asked["steps"]]
    folder = Path(tempfile.mkdtemp(prefix="tuneloop-bench-"))
    job = Job(base=base, rows=folder / "none", dataset_digest="", config=config, work=folder, key="")
    bf16 = cpu_multiplies_bf16()
    machine = Machine(cuda=False, free_bytes=8_000_000_000, compiler=True, cores=physical_cores(), multiplies_bf16=bf16)
    shape, largest = read_shape(Path(base.path)), largest_micro_batch(steps, lengths)
    decisions = decide(config, base.parameters, sum(lengths), machine, shape, largest)
    objective = objective_of(config, 8192, 2)
    objective.decided(decisions)
    model = build(job, decisions)
    run = Run(job=job, objective=objective, examples=examples, steps=steps, say=lambda _: None, stop_asked=bool)
    return run, model, load_tokenizer(Path(base.path)), decisions


def products_of(run: Any) -> list[Product]:
    """The large products of a first step's micro-batch: of one block, as often as there are blocks, and of the head."""
    from tasks.train.fused import AnswerLoss
    from tasks.train.shape import read_shape

    shape = read_shape(Path(run.job.base.path))
    rows = [run.examples[row] for row in run.steps[0][0]]
    tokens, learned = sum(len(row.input_ids) for row in rows), sum(sum(row.learned[1:]) for row in rows)
    wide, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    block = [
        (shape.hidden, wide + 2 * kv), (wide, shape.hidden), (shape.hidden, 2 * shape.intermediate),
        (shape.intermediate, shape.hidden),
    ]  # fmt: skip
    head = AnswerLoss.SLICE_TOKENS
    return [
        *(((tokens, width, outputs), float(shape.layers)) for width, outputs in block),
        ((head, shape.hidden, shape.vocabulary), learned / head),
    ]


def recipe_fields(asked: dict[str, Any]) -> dict[str, Any]:
    """No checkpoint while something is measured; what was asked for."""
    chosen = {
        "adapter": asked["adapter"],
        "rank": asked["rank"],
        "alpha": 2 * asked["rank"],
        "learning_rate": asked["learning_rate"],
        "batch_rows": asked["batch_rows"],
        "micro_batch_rows": asked["batch_rows"],
        "checkpoint_steps": 10**6,
        "compile": "off",
    }
    return {**chosen, **asked.get("recipe", {})}


def encoded(path: str) -> list[Any]:
    from tasks.tokens import Encoded

    return [Encoded(row["input_ids"], [label >= 0 for label in row["labels"]]) for row in rows_of(path)]


def validated(model: Any, rows: Any) -> float:
    from tasks.train.adapter import causal_model

    model.eval()
    return mean_loss(lambda ids: causal_model(model)(input_ids=ids).logits, rows)


class InTurns(TrainerCallback):  # type: ignore[misc]
    """Each optimiser step waits for its turn. Ours ends when its progress was told."""

    def __init__(self, run: Any, turns: Turns) -> None:
        self.run, self.turns, self.seen = run, turns, 0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.turns.wait()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.turns.done(self.run.tokens - self.seen, self.run.last_loss)
        self.seen = self.run.tokens


if __name__ == "__main__":
    main()
