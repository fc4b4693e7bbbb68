"""How many bytes the weights of a base model take, as an adapter of a kind has them stored. Pure."""

from __future__ import annotations

from tasks.train.recipe import Recipe
from tasks.train.shape import Shape

FP32 = 4
# NF4: half a byte, one byte of scale for 64 weights, and their own scale in fp32 for 256 of them (double quantisation).
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
INT8_BYTES = 1.0


def base_weight_bytes(recipe: Recipe, shape: Shape, parameters: int, dense: int, *, expanded: bool) -> float:
    """Bytes of the base model's weights. Only linear layers of the blocks are quantised, the rest stays dense.

    Args:
        dense: bytes of a number in the type that is computed in.
        expanded: whether NF4 weights are expanded to dense ones.
    """
    blocks = min(shape.block_weights, parameters)
    rest = (parameters - blocks) * dense
    if recipe.adapter == "full":
        return float(parameters * FP32)
    if recipe.adapter == "lora_8bit":
        return rest + blocks * INT8_BYTES
    if recipe.adapter == "qlora" and not expanded:
        return rest + blocks * NF4_BYTES
    return float(parameters * dense)
