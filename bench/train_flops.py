"""FLOPs that one optimiser step has to do, for tokens that run; padding and what is computed twice do not count.

A token of LoRA costs 4 FLOPs for each frozen weight it meets (forward, and the gradient of its input), 6 for each
learned one (the gradient of the weight besides), and 6 for each score of its attention and layer:

    4 (N_blocks + share V d) + 6 P_lora + 6 L d_attn s          full training: 6 (N_blocks + share V d) + 6 L d_attn s

N_blocks: weights of the blocks' linear layers; share: share of the tokens that meet the head of V x d weights: those
that are learned; P_lora: adapter weights; L: layers; d_attn: width of all query heads; s: length of the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

FORMULA = (
    "4 (N_blocks + share V d) + 6 P_lora + 6 L d_attn s FLOPs a token; full: 6 (N_blocks + share V d) + 6 L d_attn s"
)


def step_flops(shape: Any, lengths: Sequence[int], learned_tokens: int, adapter_weights: int | None) -> float:
    """FLOPs of a step over rows of these lengths; `adapter_weights` None: full training."""
    tokens = sum(lengths)
    factor = 6 if adapter_weights is None else 4
    products = factor * (shape.block_weights * tokens + learned_tokens * shape.vocabulary * shape.hidden)
    attention = 6 * shape.layers * shape.heads * shape.head_dim * sum(length**2 for length in lengths)
    return float(products + attention + 6 * (adapter_weights or 0) * tokens)


def adapter_weights(shape: Any, rank: int) -> int:
    """Weights of a low-rank adapter of all linear layers."""
    wide, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    attention = 2 * (shape.hidden + wide) + 2 * (shape.hidden + kv)
    return int(shape.layers * rank * (attention + 3 * (shape.hidden + shape.intermediate)))
