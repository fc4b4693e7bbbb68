"""What a training will do, decided before it starts: which rows in which step, and how the machine is used. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from pydantic import Field

from tasks.contracts import BaseModelRef, Digest, Precision, Record
from tasks.errors import UsageError
from tasks.train.amendments import Amendment
from tasks.train.base_weights import base_weight_bytes
from tasks.train.estimate.known import Known
from tasks.train.micro_batches import batches_of_similar_length, micro_batches
from tasks.train.recipe import Recipe
from tasks.train.shape import Shape

_BYTES = {"bf16": 2, "fp32": 4}
_ACTIVATION_SHARE = 0.7  # of what is left beside the weights; the rest is for gradients, optimiser and the head
_FULL_BYTES_SHARE = 8.0  # full training, as a multiple of bf16 weights: weights, gradient and two moments in fp32
_HEADROOM = 3.0  # activations, optimiser and working copies, as a multiple of the weights
# Measured with SmolLM2-135M on 2 cores (bench/train.py): what compiling costs with an empty cache, before step 1,
# and how much faster steps are then. `compile: on` or `off` decides without them.
_COMPILE_SECONDS = {"kernels": 25.0, "blocks": 110.0}
_COMPILE_SPEEDUP = {"kernels": 1.2, "blocks": 1.5}
_TOKEN_SECONDS_PER_WEIGHT = 1.5e-11  # of the same measurement: about 500 tokens a second for 135 million weights

FLASH_PACKAGE = "flash_attn"

MicroBatches = tuple[tuple[int, ...], ...]


class Job(Record):
    """What the trainer process is asked to do; handed over as a JSON file."""

    base: BaseModelRef
    rows: Path = Field(description="JSONL file with the training rows.")
    row_count: int | None = Field(None, description="How many rows the file has to hold; None: not known.")
    dataset_digest: Digest
    config: Recipe
    amendments: tuple[Amendment, ...] = Field((), description="Changes that repairs made, oldest first.")
    start: Path | None = Field(None, description="Folder of the adapter or model to go on from; None: the base.")
    work: Path = Field(description="Folder for the adapter and, while it works, the checkpoints.")
    key: Digest = Field(description="Identity of this training: a checkpoint of another one is never used.")
    mirror: str = Field("", description="fsspec URI where checkpoints are kept a second time; empty: nowhere.")
    group_by: str = Field("", description="Metadata key whose values keep rows on one side of the validation split.")
    known: Known = Field(Known(), description="Prices and earlier trainings, for the estimate.")


class Machine(Record):
    """What the decisions depend on."""

    cuda: bool
    free_bytes: int = Field(description="Memory that is free for weights, on the device that trains.")
    compiler: bool = Field(description="Whether a C++ compiler is installed (torch.compile needs one on a CPU).")
    cores: int
    multiplies_bf16: bool = Field(True, description="Whether the device has instructions for products of bf16 numbers.")
    flash_attention: bool = Field(False, description="Whether FlashAttention is installed and can be used.")


class Decision(Record):
    """One thing decided at run time, with the reason."""

    value: str
    reason: str


class Decisions(Record):
    """How this run uses the machine. Kept with the first checkpoint: a resumed run never decides again."""

    device: Decision
    expand_nf4: Decision
    fused_layers: Decision
    packing: Decision
    learned_head: Decision
    compile: Decision
    activation_checkpointing: Decision
    adapter_precision: Decision
    precision: Decision = Field(  # checkpoints of earlier versions do not name it
        Decision(value="bf16", reason="all products were computed so"), description="Type that is computed in."
    )
    engine: Decision = Field(Decision(value="single", reason="one process"), description="How processes share it.")
    processes: Decision = Field(Decision(value="1", reason="one process"), description="How many they are.")

    @property
    def computed_in(self) -> Precision:
        """The type that is computed in."""
        return cast(Precision, self.precision.value)

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
        batches = batches_of_similar_length(lengths, config.batch_rows, chance)
        chance.shuffle(batches)
        steps += [micro_batches(batch, lengths, config) for batch in batches]
    return steps[: max(1, math.ceil(config.epochs * steps_per_epoch))]


def largest_micro_batch(steps: Sequence[MicroBatches], lengths: Sequence[int]) -> tuple[int, ...]:
    """Lengths of the rows of the micro-batch that needs the most memory: the one with the most tokens."""
    sizes = (tuple(lengths[row] for row in micro) for step in steps for micro in step)
    return max(sizes, key=sum, default=())


def learning_rate_share(step: int, steps: int, warmup_share: float) -> float:
    """Share of the peak learning rate at a step (from 0): linear warm-up, then a cosine to zero."""
    warmup = round(warmup_share * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def decide(
    config: Recipe, parameters: int, tokens: int, machine: Machine, shape: Shape, micro_batch: tuple[int, ...] = ()
) -> Decisions:
    """Take every decision of this run.

    Args:
        tokens: what it will compute in all epochs.
        micro_batch: lengths of the rows of the largest micro-batch.
    """
    precision = _decide_precision(config, machine)
    expand = _decide_expansion(config, parameters, machine, precision)
    fused = _decide_fused_layers(config, shape, expand)
    return Decisions(
        device=Decision(
            value="cuda" if machine.cuda else "cpu",
            reason="a CUDA device is present" if machine.cuda else f"no CUDA device; {machine.cores} cores",
        ),
        expand_nf4=expand,
        fused_layers=fused,
        packing=_decide_packing(config, machine, shape, fused, precision),
        learned_head=_decide_learned_head(config),
        compile=_decide_compilation(config, parameters, tokens, machine, fused),
        activation_checkpointing=_decide_checkpointing(
            config,
            machine,
            shape,
            micro_batch,
            _BYTES[precision.value],
            _held_bytes(config, shape, parameters, precision, expand),
        ),
        adapter_precision=_decide_adapter_precision(config, fused, precision),
        precision=precision,
    )


def _decide_precision(config: Recipe, machine: Machine) -> Decision:
    if config.precision != "auto":
        return Decision(value=config.precision, reason="configured")
    if machine.multiplies_bf16:
        return Decision(value="bf16", reason="the device has instructions for products of bf16 numbers")
    return Decision(value="fp32", reason="the device has no instructions for products of bf16 numbers")


def _decide_expansion(config: Recipe, parameters: int, machine: Machine, precision: Decision) -> Decision:
    if config.adapter != "qlora":
        return Decision(value="off", reason=f"{config.adapter} has no NF4 weights; there is nothing to expand")
    if config.expand_nf4 != "auto":
        return Decision(value=config.expand_nf4, reason="configured")
    if machine.cuda:
        return Decision(value="off", reason="the device computes with 4-bit weights itself")
    needed = parameters * _BYTES[precision.value] * (1 + _HEADROOM)
    text = f"needs about {needed / 1e9:.1f} GB with room to work, {machine.free_bytes / 1e9:.1f} GB are free"
    return Decision(value="on" if needed <= machine.free_bytes else "off", reason=text)


def _decide_adapter_precision(config: Recipe, fused: Decision, precision: Decision) -> Decision:
    if precision.value == "fp32":
        return Decision(value="fp32", reason="the type that is computed in")
    if config.adapter in ("dora", "full"):
        return Decision(value="fp32", reason="small updates of magnitudes or weights are not rounded away")
    if fused.value == "off":
        return Decision(value="bf16", reason="the type in which the library's own layers compute fastest")
    return Decision(value="fp32", reason="small updates are not rounded away; products are computed in bf16")


def _decide_compilation(config: Recipe, parameters: int, tokens: int, machine: Machine, fused: Decision) -> Decision:
    what = "kernels" if fused.value == "on" else "blocks"
    if config.compile != "auto":
        return Decision(value=config.compile, reason="configured")
    expected = tokens * parameters * _TOKEN_SECONDS_PER_WEIGHT * 2 / machine.cores
    saved = expected * (1 - 1 / _COMPILE_SPEEDUP[what])
    cost = _COMPILE_SECONDS[what]
    text = f"{what} would save about {saved:.0f} s of {expected:.0f} s and cost about {cost:.0f} s"
    if machine.cuda:
        return Decision(value="off", reason="not decided by itself on CUDA; set train.compile to on")
    if not machine.compiler:
        return Decision(value="off", reason="no C++ compiler is installed")
    return Decision(value="on" if saved > 1.5 * cost else "off", reason=text)


def _decide_fused_layers(config: Recipe, shape: Shape, expand: Decision) -> Decision:
    why_not = _not_fusible(config, expand)
    if config.fused_layers == "off":
        return Decision(value="off", reason="configured")
    if config.fused_layers == "on" and why_not:
        raise UsageError("fused layers were asked for and cannot be had", where="train.fused_layers", why=why_not)
    if why_not:
        return Decision(value="off", reason=why_not)
    reason = "whole blocks" if shape.layers_can_fuse else f"adapters only: the layers are those of {shape.architecture}"
    return Decision(value="on", reason=f"configured; {reason}" if config.fused_layers == "on" else reason)


def _not_fusible(config: Recipe, expand: Decision) -> str:
    """Why the layers of this training compute something that the fused functions do not; empty if they can be used."""
    if config.dropout:
        return "dropout on the adapter's input needs the library's own layers"
    if config.adapter in ("dora", "lora_8bit"):
        return f"{config.adapter} needs the library's own layers"
    if config.adapter == "qlora" and expand.value == "off":
        return "4-bit layers compute themselves"
    if config.method == "grpo":
        return "grpo samples answers with a cache of keys and values, which fused attention leaves out"
    return ""


def _decide_packing(config: Recipe, machine: Machine, shape: Shape, fused: Decision, precision: Decision) -> Decision:
    if config.method != "sft":
        return Decision(value="off", reason=f"answers that {config.method} compares are padded, not packed")
    if config.packing != "auto":
        return Decision(value=config.packing, reason="configured")
    if fused.value == "on" and shape.layers_can_fuse and config.target_modules == ("all-linear",):
        return Decision(value="on", reason="fused attention goes row by row: nothing is padded, no row sees another")
    if machine.cuda and machine.flash_attention and precision.value == "bf16":  # it knows no fp32
        return Decision(value="on", reason="FlashAttention takes rows of any length in one sequence")
    why = "with these layers a mask of all pairs of tokens would cost more than padding"
    return Decision(value="off", reason=why + _cut_all_the_same(config))


def _cut_all_the_same(config: Recipe) -> str:
    """What becomes of `micro_batch_rows` where rows could have been packed and are not; empty: it holds."""
    if config.sequence_tokens is None:
        return ""
    return (
        f"; the plan, the same on every machine, leaves micro-batches of at most {config.sequence_tokens:,} tokens "
        "(train.sequence_tokens) nevertheless; with train.packing: off train.micro_batch_rows alone decides"
    )


def _decide_learned_head(config: Recipe) -> Decision:
    if config.learned_head != "auto":
        return Decision(value=config.learned_head, reason="configured")
    return Decision(value="on", reason="the vocabulary is the widest layer; what is not learned need not meet it")


def _decide_checkpointing(
    config: Recipe, machine: Machine, shape: Shape, micro_batch: tuple[int, ...], width: int, held: float
) -> Decision:
    if config.activation_checkpointing != "auto":
        return Decision(value=config.activation_checkpointing, reason="configured")
    needed, left = activation_bytes(shape, micro_batch, width), machine.free_bytes - held
    text = f"activations need about {needed / 1e9:.1f} GB, {max(left, 0) / 1e9:.1f} GB are left beside the weights"
    return Decision(value="off" if needed <= _ACTIVATION_SHARE * left else "on", reason=text)


def _held_bytes(config: Recipe, shape: Shape, parameters: int, precision: Decision, expand: Decision) -> float:
    """The weights as they are stored; of full training with all that is kept for each of them."""
    if config.adapter == "full":
        return parameters * _BYTES["bf16"] * _FULL_BYTES_SHARE
    expanded = expand.value == "on"
    return base_weight_bytes(config, shape, parameters, _BYTES[precision.value], expanded=expanded)


def activation_bytes(shape: Shape, micro_batch: Sequence[int], width: int = _BYTES["bf16"]) -> float:
    """What the backward pass of one micro-batch needs of the forward pass, without recomputation.

    States of `width` bytes a number around the products of a block (after Korthikanti et al., arXiv 2205.05198,
    section 4.1, with the widths of grouped queries and SwiGLU) and the scores of its attention, both for every block.
    """
    wide = 8 * shape.hidden + 3 * (shape.heads + 2 * shape.kv_heads) * shape.head_dim + 5 * shape.intermediate
    scores = shape.heads * sum(length**2 for length in micro_batch)
    return float(width * shape.layers * (wide * sum(micro_batch) + scores))
