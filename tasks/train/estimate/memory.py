"""Memory of a training by part: weights, adapter, gradients, optimiser, activations, head, workspace. Pure.

Everything follows from the shape of the base model, the recipe, the decisions and the largest micro-batch. Activations
are counted layer by layer, as `fused` and `llama_layers` keep them (or the library's own layers, after Korthikanti et
al., arXiv 2205.05198); a calibration says how much more or less this machine needs for them.
"""

from __future__ import annotations

import os

from pydantic import Field

from tasks.adapters.threads import kept_products
from tasks.contracts import Record
from tasks.train.base_weights import FP32, base_weight_bytes
from tasks.train.estimate.work import Load, load_of, positions
from tasks.train.objective import Micro
from tasks.train.plan import Decisions
from tasks.train.recipe import Recipe
from tasks.train.shape import Shape

BF16 = 2
_BYTES = {"bf16": BF16, "fp32": FP32}
# Measured: interpreter and libraries of a trainer process after a first pass; on CUDA context and workspaces.
PROCESS_BYTES = {"cpu": 780e6, "cuda": 1.2e9}
_HEAD_SLICE = 256
# Measured with SmolLM2-135M on a CPU (bench/estimate.py): oneDNN keeps compiled products of 0.8 MB, some 30 of them for
# each number of tokens. Of a pass's blocks glibc's heap leaves pieces between those that are kept: 1.62 to 1.85 times
# what is kept at 290 to 1,860 tokens, and what lives shortly (scores of short rows, slices of logits) fits into them.
# Passes of ever new sizes leave more of them: after some hundred 0.28 to 0.63 GB, the more the larger the passes.
# With a fixed MALLOC_MMAP_THRESHOLD_ freed blocks are given back at once, and a step takes up to half as long again.
_PRODUCT_BYTES, _PRODUCTS_OF_A_SHAPE = 0.8e6, 37
_WITH_PIECES = 1.7
_RETAINED_BYTES, _RETAINED_SHARE, _RETAINED_AT_SHAPES = 250e6, 0.15, 12
_GIVES_BACK = "MALLOC_MMAP_THRESHOLD_"


class Memory(Record):
    """Bytes of one process at its highest, by part."""

    process: int = Field(description="Interpreter, libraries, device context.")
    weights: int = Field(description="Weights of the base model, as they are stored.")
    adapter: int = Field(description="What is learned beside them; full: the weights themselves, so 0.")
    gradients: int
    optimizer: int = Field(description="Two moments for each learned weight.")
    activations: int = Field(description="What the backward pass of the largest micro-batch needs.")
    head: int = Field(description="Logits that exist at one time.")
    workspace: int = Field(description="Gradients of one block, copies, gathered weights.")
    kernels: int = Field(0, description="On a CPU, compiled products: every new number of tokens gets its own.")
    retained: int = Field(0, description="On a CPU, freed memory that the C library keeps in pieces of other sizes.")
    saving: int = Field(0, description="A checkpoint's copy while it is written, beyond what a step needs.")

    @property
    def total(self) -> int:
        return sum(self.model_dump().values())

    @property
    def passing(self) -> int:
        """What a forward and backward pass takes beside the gradients that stay."""
        return self.activations + self.head + self.workspace

    @property
    def fixed(self) -> int:
        """What is there before the first step."""
        return self.process + self.weights + self.adapter


def memory_of(
    recipe: Recipe, shape: Shape, parameters: int, decisions: Decisions, micro: Micro, factor: float = 1.0,
    shapes: int = 1,
) -> Memory:  # fmt: skip
    """Memory of one process.

    Args:
        micro: the micro-batch that needs the most.
        factor: what activations need on this machine over what the formula says, where that was measured.
        shapes: different numbers of tokens among the micro-batches.
    """
    load, device = load_of(recipe, shape, decisions), decisions.device.value
    weight_part, state_part = _parts(decisions)
    learned = parameters if load.full else load.adapter_weights
    width = _BYTES[decisions.adapter_precision.value]
    weights = int(weight_bytes(recipe, shape, parameters, decisions) * weight_part)
    kept = activation_bytes(load, decisions, micro)
    one = block_bytes(load, decisions, micro)
    step = {
        "gradients": int(learned * width * state_part),
        "activations": int(kept * factor),
        "head": int(head_bytes(load, decisions, micro) * factor),
        "workspace": int(one * factor) + int(_gathered(recipe, shape, decisions)),
    }
    on_cpu = device == "cpu"
    several = min(1.0, (shapes - 1) / _RETAINED_AT_SHAPES) if on_cpu and _GIVES_BACK not in os.environ else 0.0
    changing = step["activations"] + step["head"] + step["workspace"]
    pieces = min(_RETAINED_BYTES, changing) + _RETAINED_SHARE * changing
    optimizer = int(2 * learned * width * state_part)
    return Memory(
        process=int(PROCESS_BYTES[device]),
        weights=weights,
        adapter=0 if load.full else int(learned * width * (weight_part if state_part < 1 else 1)),
        optimizer=optimizer,
        kernels=_kernels(shapes) if on_cpu and decisions.computed_in == "bf16" else 0,
        retained=int(several * pieces),
        saving=max(0, optimizer - sum(step.values())) if on_cpu else 0,
        **step,
    )


def _kernels(shapes: int) -> int:
    return int(_PRODUCT_BYTES * min(kept_products(), _PRODUCTS_OF_A_SHAPE * shapes))


def weight_bytes(recipe: Recipe, shape: Shape, parameters: int, decisions: Decisions) -> float:
    """Bytes of the base model's weights."""
    expanded = decisions.expand_nf4.value == "on"
    return base_weight_bytes(recipe, shape, parameters, _computed(decisions), expanded=expanded)


def _computed(decisions: Decisions) -> int:
    """Bytes of a number in the type that is computed in."""
    return _BYTES[decisions.computed_in]


def _parts(decisions: Decisions) -> tuple[float, float]:
    """Shares of the weights, and of gradients and optimiser, that one process holds."""
    count = int(decisions.processes.value)
    if decisions.engine.value in ("fsdp2", "zero3"):
        return 1 / count, 1 / count
    return (1.0, 1 / count) if decisions.engine.value == "zero2" else (1.0, 1.0)


def _gathered(recipe: Recipe, shape: Shape, decisions: Decisions) -> float:
    """Weights of two blocks that travel to a process while it computes, and a copy of 4-bit weights in use."""
    dense = _computed(decisions)
    per_block = shape.block_weights / shape.layers * dense
    if decisions.engine.value in ("fsdp2", "zero3"):
        return 2 * per_block
    quantised = recipe.adapter == "qlora" and decisions.expand_nf4.value == "off"
    widest = shape.hidden * max(shape.intermediate, shape.heads * shape.head_dim) * dense
    if recipe.adapter == "full":  # without autocast there are no copies
        return float(
            shape.block_weights * BF16 if dense == BF16 else 0
        )  # autocast keeps its 16-bit copies until the forward pass ends
    return float(widest if quantised or recipe.adapter == "lora_8bit" else 0)


def activation_bytes(load: Load, decisions: Decisions, micro: Micro) -> float:
    """What is kept of the forward pass of all blocks; where it is computed again, their inputs only."""
    shape, dense = load.shape, _computed(decisions)
    ends = 3 * shape.hidden * dense * positions(micro, load.packed)  # embeddings, last norm, states before the head
    if load.recomputes:
        return ends + float(shape.layers * shape.hidden * dense * positions(micro, load.packed))
    return ends + shape.layers * kept_by_block(load, decisions, micro)


def block_bytes(load: Load, decisions: Decisions, micro: Micro) -> float:
    """What the backward pass of one block needs beside it: gradients, and what it has to compute again."""
    return kept_by_block(load, decisions, micro) * (2.0 if load.recomputes else 0.7)


def kept_by_block(load: Load, decisions: Decisions, micro: Micro) -> float:
    """Bytes that one block keeps of its forward pass for the backward pass, on a CPU with what lies unused between."""
    shape, count, dense = load.shape, positions(micro, load.packed), _computed(decisions)
    per_token: float
    wide, grouped = shape.heads * shape.head_dim, (shape.heads + 2 * shape.kv_heads) * shape.head_dim
    if decisions.fused_layers.value == "on" and shape.layers_can_fuse:
        per_token = (4 * shape.hidden + grouped + wide + 3 * shape.intermediate) * dense
        per_token *= _WITH_PIECES if decisions.device.value == "cpu" else 1
    else:  # the library's norms compute in fp32, its adapters read their inputs again
        per_token = (
            8 * shape.hidden + 2 * grouped + 2 * wide + 5 * shape.intermediate
        ) * dense + 4 * shape.hidden * FP32
        per_token += 2 * shape.intermediate * BF16 if load.full and dense == BF16 else 0
    return float(per_token * count)


def head_bytes(load: Load, decisions: Decisions, micro: Micro) -> float:
    """Logits at one time: a slice (log shares in fp32, twice as it is computed), or all tokens' with their gradient.

    On a CPU a slice needs no room of its own, unless nothing else of the forward pass is kept.
    """
    vocabulary, dense = load.shape.vocabulary, _computed(decisions)
    if not load.learned_head:
        return float(positions(micro, load.packed) * vocabulary * (2 * dense + 3 * FP32))
    tokens = min(_HEAD_SLICE, micro.learned) if decisions.device.value == "cuda" or load.recomputes else 0
    learned = vocabulary * load.shape.hidden * (FP32 + 2 * dense) if load.full else 0
    return float(tokens * vocabulary * (2 * dense + FP32) + learned)
