"""The shape of a base model, read from its configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from tasks.adapters.model_settings import model_settings
from tasks.contracts import Record

_FUSIBLE = frozenset({"LlamaForCausalLM"})


class Shape(Record):
    """What work and memory of a training step depend on."""

    architecture: str = Field(description="Class of the model, as its configuration names it.")
    layers: int = Field(ge=1)
    hidden: int = Field(ge=1, description="Width of the states between layers.")
    intermediate: int = Field(ge=1, description="Width inside the feed-forward part.")
    heads: int = Field(ge=1, description="Query heads.")
    kv_heads: int = Field(ge=1, description="Key and value heads.")
    head_dim: int = Field(ge=1)
    vocabulary: int = Field(ge=1)
    tied: bool = Field(description="Whether the head is the embedding.")
    silu: bool = Field(description="Whether the feed-forward part is a SwiGLU.")
    bias: bool = Field(description="Whether linear layers of the blocks have a bias.")

    @property
    def block_weights(self) -> int:
        """Weights of the linear layers of all blocks."""
        attention = (2 * self.heads + 2 * self.kv_heads) * self.head_dim * self.hidden
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def layers_can_fuse(self) -> bool:
        """Whether `llama_layers` knows layers of this kind."""
        return self.architecture in _FUSIBLE and self.silu and not self.bias


def read_shape(folder: Path) -> Shape:
    """Shape of the model in a folder.

    Raises:
        ModelUnavailable: its configuration does not say how large it is.
    """
    return shape_of(model_settings(folder))


def shape_of(config: dict[str, Any]) -> Shape:
    """Shape of a model by its configuration; what is left out has the value that transformers gives it."""
    heads = config["num_attention_heads"]
    return Shape(
        architecture=(config.get("architectures") or ["unknown"])[0],
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        intermediate=config["intermediate_size"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        vocabulary=config["vocab_size"],
        tied=bool(config.get("tie_word_embeddings", False)),
        silu=config.get("hidden_act") == "silu",
        bias=bool(config.get("attention_bias") or config.get("mlp_bias")),
    )
