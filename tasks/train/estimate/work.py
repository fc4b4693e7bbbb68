"""How much a planned training has to compute: FLOPs of each micro-batch as it runs. Pure.

A token of LoRA costs 4 FLOPs for each frozen weight it meets (forward, and the gradient of its input), 6 for each
learned one (the gradient of the weight besides), and 6 for each score of its attention and layer; full training costs
6 throughout. What is computed again in the backward pass costs its forward part once more:

    4 (N_blocks + share V d) + 6 P_lora + 6 L d_attn s          full: 6 (N_blocks + share V d) + 6 L d_attn s

N_blocks: weights of the blocks' linear layers; share: share of the tokens that meet the head of V x d weights; P_lora:
adapter weights; L: layers; d_attn: width of all query heads; s: length of the row. Unlike a utilisation, an estimate of
time counts what is padded too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tasks.contracts import Record
from tasks.train.objective import Micro, Objective
from tasks.train.plan import Decisions, MicroBatches
from tasks.train.recipe import Recipe
from tasks.train.shape import Shape

Steps = Sequence[Sequence[Micro]]


class Load(Record):
    """What decides the FLOPs of a micro-batch beside its rows."""

    shape: Shape
    adapter_weights: int
    full: bool
    packed: bool
    learned_head: bool
    recomputes: bool


def load_of(recipe: Recipe, shape: Shape, decisions: Decisions) -> Load:
    """The load of a training that was decided on."""
    return Load(
        shape=shape,
        adapter_weights=0 if recipe.adapter == "full" else adapter_weights(shape, recipe),
        full=recipe.adapter == "full",
        packed=decisions.packing.value == "on",
        # methods that compare answers never compute the logits of other tokens
        learned_head=decisions.learned_head.value == "on" or recipe.method != "sft",
        recomputes=decisions.activation_checkpointing.value == "on",
    )


def adapter_weights(shape: Shape, recipe: Recipe) -> int:
    """Weights of the low-rank matrices on the layers that are adapted; DoRA's magnitudes count as well."""
    wide, narrow = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    sizes = {
        "q_proj": (shape.hidden, wide),
        "k_proj": (shape.hidden, narrow),
        "v_proj": (shape.hidden, narrow),
        "o_proj": (wide, shape.hidden),
        "gate_proj": (shape.hidden, shape.intermediate),
        "up_proj": (shape.hidden, shape.intermediate),
        "down_proj": (shape.intermediate, shape.hidden),
    }
    names = list(sizes) if recipe.target_modules == ("all-linear",) else recipe.target_modules
    chosen = [sizes[name] for name in names if name in sizes]
    low = sum(recipe.rank * (into + out) for into, out in chosen)
    magnitudes = sum(out for _, out in chosen) if recipe.adapter == "dora" else 0
    return shape.layers * (low + magnitudes)


def positions(micro: Micro, packed: bool) -> int:
    """Positions that are computed: real tokens, and padding where rows lie beside each other."""
    return sum(micro.lengths) if packed else len(micro.lengths) * max(micro.lengths, default=0)


def flops(micro: Micro, load: Load) -> float:
    """FLOPs of one micro-batch: forward and backward pass, and what is computed forward only beside them."""
    return _there_and_back(micro, load) + _looked(micro, load)


def _there_and_back(micro: Micro, load: Load) -> float:
    shape, count = load.shape, positions(micro, load.packed)
    again = 2 if load.recomputes else 0
    blocks = ((6 if load.full else 4) + again) * shape.block_weights * count
    adapter = (6 + again) * load.adapter_weights * count
    head = (6 if load.full else 4) * shape.hidden * shape.vocabulary * (micro.learned if load.learned_head else count)
    return float(
        blocks + adapter + head + (6 + again) * shape.layers * shape.heads * shape.head_dim * scores(micro, load)
    )


def scores(micro: Micro, load: Load) -> int:
    """Scores of one head's attention: rows of a pack see only themselves, rows beside each other are padded."""
    if load.packed:
        return sum(length**2 for length in micro.lengths)
    return len(micro.lengths) * max(micro.lengths, default=0) ** 2


def forward_flops(micro: Micro, load: Load) -> float:
    """FLOPs of a micro-batch without a backward pass: 2 for each weight a token meets."""
    plain = load.model_copy(update={"recomputes": False, "full": False})
    return _there_and_back(micro, plain) / 2 + _looked(micro, load)


def _looked(micro: Micro, load: Load) -> float:
    """FLOPs of the sequences that no gradient is taken of; as many of their tokens meet the head as of the others."""
    if not micro.looked:
        return 0.0
    share = micro.learned / max(1, sum(micro.lengths))
    return forward_flops(Micro(micro.looked, int(share * sum(micro.looked))), load)


def total_flops(steps: Steps, load: Load) -> float:
    """FLOPs of all steps."""
    return sum(flops(micro, load) for step in steps for micro in step)


def padding_share(steps: Steps, load: Load) -> float:
    """Share of the computed positions that hold no token."""
    computed = sum(positions(micro, load.packed) for step in steps for micro in step)
    return 1 - sum(sum(micro.lengths) for step in steps for micro in step) / max(1, computed)


def largest(steps: Steps, weight: Callable[[Micro], float]) -> Micro:
    """The micro-batch with the largest weight (memory, FLOPs)."""
    return max((micro for step in steps for micro in step), key=weight, default=Micro((), 0))


def planned(steps: Sequence[MicroBatches], examples: Sequence[Any], objective: Objective[Any]) -> list[list[Micro]]:
    """The planned micro-batches as what the method computes of them."""
    measures = [objective.computed(example) for example in examples]
    return [[joined([measures[row] for row in micro]) for micro in step] for step in steps]


def joined(rows: Sequence[Micro]) -> Micro:
    """Several examples as one micro-batch."""
    return Micro(
        tuple(length for row in rows for length in row.lengths),
        sum(row.learned for row in rows),
        tuple(length for row in rows for length in row.looked),
    )
