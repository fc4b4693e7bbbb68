"""The shape of a base model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import FalconConfig, GPT2Config, MptConfig, OPTConfig

from tasks.errors import ModelUnavailable
from tasks.inference.weights import linear_layers, load_base
from tasks.train.shape import read_shape


def test_the_shape_is_that_of_the_weights(tiny_model: Path) -> None:
    shape = read_shape(tiny_model)
    assert shape.block_weights == sum(layer.weight.numel() for _, layer in linear_layers(load_base(tiny_model, "none")))
    assert (shape.hidden, shape.heads, shape.kv_heads, shape.head_dim) == (64, 4, 2, 16)
    assert shape.layers_can_fuse
    assert not shape.model_copy(update={"architecture": "PhiForCausalLM"}).layers_can_fuse
    assert not shape.model_copy(update={"bias": True}).layers_can_fuse


@pytest.mark.parametrize(
    ("config", "layers", "hidden", "intermediate", "heads", "kv_heads"),
    [
        (GPT2Config(n_layer=3, n_embd=32, n_head=4), 3, 32, 128, 4, 4),
        (OPTConfig(num_hidden_layers=3, hidden_size=32, ffn_dim=96, num_attention_heads=4), 3, 32, 96, 4, 4),
        (FalconConfig(num_hidden_layers=3, hidden_size=32, num_attention_heads=4), 3, 32, 128, 4, 4),
        (MptConfig(n_layers=3, d_model=32, n_heads=4), 3, 32, 128, 4, 4),
    ],
)
def test_models_that_name_their_sizes_otherwise(
    tmp_path: Path, config: Any, layers: int, hidden: int, intermediate: int, heads: int, kv_heads: int
) -> None:
    config.save_pretrained(tmp_path)
    shape = read_shape(tmp_path)
    found = (shape.layers, shape.hidden, shape.intermediate, shape.heads, shape.kv_heads)
    assert found == (layers, hidden, intermediate, heads, kv_heads)


def test_a_language_model_beside_an_image_part(tmp_path: Path) -> None:
    """Sizes stand one level below, and those with their default value are left out."""
    text = {"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34}
    config = {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "text_config": text}
    (tmp_path / "config.json").write_text(json.dumps(config))
    shape = read_shape(tmp_path)
    assert (shape.layers, shape.hidden, shape.heads, shape.kv_heads, shape.head_dim) == (34, 2560, 8, 4, 256)
    assert shape.vocabulary > 200_000
    assert shape.tied
    assert not shape.layers_can_fuse


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"model_type": "nobody-knows", "hidden_size": 64}, "transformers cannot read it"),
        ({"hidden_size": 64}, "transformers cannot read it"),
        ({"model_type": "vit", "hidden_size": 64}, "it does not say vocab_size"),
    ],
)
def test_a_model_without_sizes_is_refused(tmp_path: Path, config: dict[str, Any], why: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnavailable, match="size of the base model") as caught:
        read_shape(tmp_path)
    assert why in caught.value.why
    assert caught.value.where == str(tmp_path / "config.json")
