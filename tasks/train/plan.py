"""What a training will do, decided before it starts: which rows in which step, and how the machine is used. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from tasks.contracts import BaseModelRef, Digest, Record
from tasks.train.recipe import Recipe

_LENGTH_POOL_BATCHES = 8  # rows of this many batches are sorted by length together: little padding, still shuffled
_BF16_BYTES = 2
_NF4_BYTES = 0.57  # 4 bits and the block scales
_HEADROOM = 3.0  # activations, optimiser and working copies, as a multiple of the weights
# For SmolLM2-135M on 2 cores: the cost of the first compiled step and the step rate were measured, the gain of
# compiling over the fused layers is an estimate. `compile: on` or `off` decides without them.
COMPILE_SECONDS = 110.0
COMPILE_SPEEDUP = 1.15  # over the fused layers, which compilation replaces
_TOKEN_SECONDS_PER_WEIGHT = 1.5e-11  # of the same measurement: about 500 tokens a second for 135 million weights

MicroBatches = tuple[tuple[int, ...], ...]


class Job(Record):
    """What the trainer process is asked to do; handed over as a JSON file."""

    base: BaseModelRef
    rows: Path = Field(description="JSONL file with the training rows.")
    dataset_digest: Digest
    config: Recipe
    work: Path = Field(description="Folder for the adapter and, while it works, the checkpoints.")
    key: Digest = Field(description="Identity of this training: a checkpoint of another one is never used.")


class Machine(Record):
    """What the decisions depend on."""

    cuda: bool
    free_bytes: int = Field(description="Memory that is free for weights, on the device that trains.")
    compiler: bool = Field(description="Whether a C++ compiler is installed (torch.compile needs one on a CPU).")
    cores: int


class Decision(Record):
    """One thing decided at run time, with the reason."""

    value: str
    reason: str


class Decisions(Record):
    """How this run uses the machine. Kept with the first checkpoint: a resumed run never decides again."""

    device: Decision
    expand_nf4: Decision
    compile: Decision
    adapter_precision: Decision

    def texts(self) -> dict[str, str]:
        """Name → value and reason, as people read it."""
        return {name: f"{d.value}: {d.reason}" for name, d in self}


def sampled_rows(available: int, max_rows: int | None, seed: int) -> list[int]:
    """Numbers of the rows to train on, in source order: all, or a seeded sample."""
    if max_rows is None or max_rows >= available:
        return list(range(available))
    return sorted(random.Random(seed).sample(range(available), max_rows))


def plan_steps(lengths: Sequence[int], config: Recipe) -> list[MicroBatches]:
    """For each optimiser step its micro-batches of row numbers; the same for the same lengths and configuration.

    Each epoch visits every row once, in a new order. Rows of similar length share a batch, so that little is padded.
    """
    steps_per_epoch = math.ceil(len(lengths) / config.batch_rows)
    steps: list[MicroBatches] = []
    for epoch in range(math.ceil(config.epochs)):
        chance = random.Random(f"{config.seed}/{epoch}")
        batches = _batches_of_similar_length(lengths, config.batch_rows, chance)
        chance.shuffle(batches)
        steps += [_micro_batches(batch, config.micro_batch_rows) for batch in batches]
    return steps[: max(1, math.ceil(config.epochs * steps_per_epoch))]


def _batches_of_similar_length(lengths: Sequence[int], size: int, chance: random.Random) -> list[list[int]]:
    order = list(range(len(lengths)))
    chance.shuffle(order)
    pool = size * _LENGTH_POOL_BATCHES
    batches = []
    for start in range(0, len(order), pool):
        rows = sorted(order[start : start + pool], key=lambda row: lengths[row])
        batches += [rows[at : at + size] for at in range(0, len(rows), size)]
    return batches


def _micro_batches(batch: Sequence[int], size: int) -> MicroBatches:
    return tuple(tuple(batch[at : at + size]) for at in range(0, len(batch), size))


def learning_rate_share(step: int, steps: int, warmup_share: float) -> float:
    """Share of the peak learning rate at a step (from 0): linear warm-up, then a cosine to zero."""
    warmup = round(warmup_share * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def decide(config: Recipe, parameters: int, tokens: int, machine: Machine) -> Decisions:
    """Take every decision of this run; `tokens` is what it will compute in all epochs."""
    expand = _decide_expansion(config, parameters, machine)
    return Decisions(
        device=Decision(
            value="cuda" if machine.cuda else "cpu",
            reason="a CUDA device is present" if machine.cuda else f"no CUDA device; {machine.cores} cores",
        ),
        expand_nf4=expand,
        compile=_decide_compilation(config, parameters, tokens, machine),
        adapter_precision=_decide_precision(config, expand),
    )


def _decide_expansion(config: Recipe, parameters: int, machine: Machine) -> Decision:
    if config.adapter == "lora":
        return Decision(value="off", reason="lora trains beside bf16 weights; there is nothing to expand")
    if config.expand_nf4 != "auto":
        return Decision(value=config.expand_nf4, reason="configured")
    if machine.cuda:
        return Decision(value="off", reason="the device computes with 4-bit weights itself")
    needed = parameters * _BF16_BYTES * (1 + _HEADROOM)
    text = f"needs about {needed / 1e9:.1f} GB with room to work, {machine.free_bytes / 1e9:.1f} GB are free"
    return Decision(value="on" if needed <= machine.free_bytes else "off", reason=text)


def _decide_precision(config: Recipe, expand: Decision) -> Decision:
    if config.dropout:
        return Decision(value="bf16", reason="dropout on the adapter's input needs the library's own layers")
    if config.adapter == "qlora" and expand.value == "off":
        return Decision(value="bf16", reason="the type 4-bit layers compute in")
    return Decision(value="fp32", reason="small updates are not rounded away; products are computed in bf16")


def _decide_compilation(config: Recipe, parameters: int, tokens: int, machine: Machine) -> Decision:
    if config.compile != "auto":
        return Decision(value=config.compile, reason="configured")
    expected = tokens * parameters * _TOKEN_SECONDS_PER_WEIGHT * 2 / machine.cores
    saved = expected * (1 - 1 / COMPILE_SPEEDUP)
    text = f"would save about {saved:.0f} s of {expected:.0f} s and costs about {COMPILE_SECONDS:.0f} s"
    if machine.cuda:
        return Decision(value="off", reason="not decided by itself on CUDA; set train.compile to on")
    if not machine.compiler:
        return Decision(value="off", reason="no C++ compiler is installed")
    return Decision(value="on" if saved > 1.5 * COMPILE_SECONDS else "off", reason=text)
