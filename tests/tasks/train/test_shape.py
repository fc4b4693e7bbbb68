"""The shape of a base model."""

from __future__ import annotations

from pathlib import Path

from tasks.inference.weights import linear_layers, load_base
from tasks.train.shape import read_shape


def test_the_shape_is_that_of_the_weights(tiny_model: Path) -> None:
    shape = read_shape(tiny_model)
    assert shape.block_weights == sum(layer.weight.numel() for _, layer in linear_layers(load_base(tiny_model, "none")))
    assert (shape.hidden, shape.heads, shape.kv_heads, shape.head_dim) == (64, 4, 2, 16)
    assert shape.layers_can_fuse
    assert not shape.model_copy(update={"architecture": "PhiForCausalLM"}).layers_can_fuse
    assert not shape.model_copy(update={"bias": True}).layers_can_fuse
