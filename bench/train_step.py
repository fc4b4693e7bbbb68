"""How fast is one training step? Ours beside TRL's trainer, interleaved, on the same rows, model and machine.

    python -m bench.train_step [--rounds 5] [--compile]

trl          TRL's defaults for QLoRA: 4-bit layers, activations computed again in the backward pass
trl-dense    TRL with what it offers for speed here: NF4 values expanded to bf16, activations kept, adapters in bf16
tuneloop     the fused layers of tasks.train, as a training uses them
compiled     the same, compiled (only with --compile; costs one to two minutes before the first step)

Prints a table and one JSON line. Tokens are real tokens: padding is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.adapters.threads import physical_cores, thread_environment

os.environ.update(thread_environment())

ROWS, PROMPT_TOKENS, ANSWER_TOKENS = 16, 37, 35  # as in examples/support_desk
Step = Callable[[], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rates = measure(options.model, Path(folder), options.rounds, options.compile)
    print_table(rates)
    print(json.dumps(summary(rates)))


def measure(name: str, folder: Path, rounds: int, compiled: bool) -> dict[str, list[float]]:
    """Tokens per second of each variant in each round; every round runs all variants once."""
    from tasks.adapters.base_models import resolve

    base, examples = resolve(name), make_examples()
    steps: dict[str, Step] = {
        "trl": trl_step(base, examples, folder, dense=False),
        "trl-dense": trl_step(base, examples, folder, dense=True),
        "tuneloop": our_step(base, examples, folder, compiled=False),
    }
    if compiled:
        steps["compiled"] = our_step(base, examples, folder, compiled=True)
    tokens = sum(len(e.input_ids) for e in examples)
    rates: dict[str, list[float]] = {variant: [] for variant in steps}
    for number in range(rounds + 1):
        for variant, step in steps.items():
            began = time.perf_counter()
            step()
            if number:  # the first round warms up
                rates[variant].append(tokens / (time.perf_counter() - began))
    return rates


def make_examples() -> list[Any]:
    """Rows of random tokens with the lengths of the example; half of each is learned."""
    from tasks.tokens import Encoded

    chance = random.Random(17)
    rows = []
    for _ in range(ROWS):
        prompt, answer = PROMPT_TOKENS + chance.randrange(-4, 5), ANSWER_TOKENS + chance.randrange(-4, 5)
        ids = [chance.randrange(10, 40_000) for _ in range(prompt + answer)]
        rows.append(Encoded(ids, [i >= prompt for i in range(prompt + answer)]))
    return rows


def our_step(base: Any, examples: list[Any], folder: Path, *, compiled: bool) -> Step:
    """A step of the trainer process, optimiser included."""
    from tasks.train.adapter import build
    from tasks.train.plan import Job, Machine, decide
    from tasks.train.recipe import Recipe
    from tasks.train.run import Run
    from tasks.train.sft import Supervised
    from tasks.train.trainer import PlannedTrainer, make_optimizer, trainable

    config = Recipe(expand_nf4="on", compile="on" if compiled else "off", epochs=1000)
    job = Job(base=base, rows=folder / "none", dataset_digest="", config=config, work=folder, key="")
    machine = Machine(cuda=False, free_bytes=0, compiler=True, cores=physical_cores())
    model = build(job, decide(config, base.parameters, 0, machine))
    run = Run(
        job=job,
        objective=Supervised(config, 2048, 2),
        examples=examples,
        steps=[(tuple(range(ROWS)),)],
        say=lambda _: None,
        stop_asked=bool,
    )
    optimizer = make_optimizer(trainable(model), config)
    return stepper(PlannedTrainer(run, model, tokenizer_of(base), optimizer), model, optimizer)


def trl_step(base: Any, examples: list[Any], folder: Path, *, dense: bool) -> Step:
    """A step of TRL's own trainer, optimiser included."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    from tasks.inference.weights import load_base, load_base_in_4bit
    from tasks.train.data import collate

    model = load_base(Path(base.path), "nf4") if dense else load_base_in_4bit(Path(base.path))
    labels = [[t if known else -100 for t, known in zip(e.input_ids, e.learned, strict=True)] for e in examples]
    settings = {"gradient_checkpointing": False} if dense else {}
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(folder),
            per_device_train_batch_size=ROWS,
            report_to="none",
            bf16=not dense,
            use_cpu=not torch.cuda.is_available(),
            dataset_kwargs={"skip_prepare_dataset": True},
            **settings,
        ),
        train_dataset=Dataset.from_dict({"input_ids": [e.input_ids for e in examples], "labels": labels}),
        processing_class=tokenizer_of(base),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    trainer.current_gradient_accumulation_steps = 1  # what the training loop sets before each step
    parameters = [p for p in trainer.model.parameters() if p.requires_grad]
    for parameter in parameters if dense else []:
        parameter.data = parameter.data.to(torch.bfloat16)
    batch = collate(examples, pad=2)
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    return stepper(trainer, trainer.model, torch.optim.AdamW(parameters, lr=1e-5), batch)


def stepper(trainer: Any, model: Any, optimizer: Any, batch: Any = None) -> Step:
    """One step on always the same batch."""
    inputs = batch if batch is not None else next(iter(trainer.get_train_dataloader()))

    def step() -> None:
        trainer.training_step(model, dict(inputs) if batch is not None else inputs)
        optimizer.step()
        optimizer.zero_grad()

    return step


def tokenizer_of(base: Any) -> Any:
    from tasks.tokens import load_tokenizer

    return load_tokenizer(Path(base.path))


def summary(rates: dict[str, list[float]]) -> dict[str, Any]:
    """Medians, and the ratio to TRL's defaults with its smallest and largest value over the rounds."""
    ratios = {
        f"tuneloop/{other}": sorted(a / b for a, b in zip(rates["tuneloop"], rates[other], strict=True))
        for other in rates
        if other != "tuneloop"
    }
    return {
        "bench": "train_step",
        "tokens_per_second": {name: round(statistics.median(values)) for name, values in rates.items()},
        "ratio": {
            name: {"median": round(statistics.median(r), 2), "low": round(r[0], 2), "high": round(r[-1], 2)}
            for name, r in ratios.items()
        },
        "rounds": len(rates["tuneloop"]),
        "cores": physical_cores(),
    }


def print_table(rates: dict[str, list[float]]) -> None:
    print(f"{'variant':<12}{'tokens/s':>10}{'slowest':>10}{'fastest':>10}")
    for name, values in rates.items():
        print(f"{name:<12}{statistics.median(values):>10.0f}{min(values):>10.0f}{max(values):>10.0f}")


if __name__ == "__main__":
    main()
