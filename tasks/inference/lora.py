"""Low-rank adapters at inference: read from a PEFT folder and computed beside the base weights, never merged.

Merging would round base plus update to bf16 again: other numbers than in training. Computed apart, an adapter costs
two small products a layer.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import UsageError
from tasks.inference.weights import linear_layers

if TYPE_CHECKING:
    import torch

_PREFIX = "base_model.model."
# Settings of PEFT that change what an adapter computes; any other value than these is not what we train.
_PLAIN = {"peft_type": "LORA", "bias": "none", "use_dora": False, "use_rslora": False, "fan_in_fan_out": False}


def attach(model: Any, folder: Path) -> None:
    """Make the model's linear layers compute with the adapter in `folder`.

    Raises:
        UsageError: the adapter is of a kind that is not supported, or does not fit the model.
    """
    from safetensors.torch import load_file

    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    _check_plain(config, folder)
    tensors = load_file(str(folder / "adapter_model.safetensors"))
    scaling = config["lora_alpha"] / config["r"]
    for name, layer in linear_layers(model):
        down = tensors.pop(f"{_PREFIX}{name}.lora_A.weight", None)
        up = tensors.pop(f"{_PREFIX}{name}.lora_B.weight", None)
        if down is not None and up is not None:
            _adapt(layer, down, up * scaling)
    if tensors:
        left = next(iter(tensors))
        raise UsageError("the adapter does not fit the base model", where=str(folder), why=f"no layer for {left}")


def _check_plain(config: dict[str, Any], folder: Path) -> None:
    odd = [key for key, value in _PLAIN.items() if config.get(key, value) != value]
    odd += [key for key in ("modules_to_save", "rank_pattern", "alpha_pattern") if config.get(key)]
    if odd:
        raise UsageError("this kind of adapter is not supported", where=str(folder), why=f"set: {', '.join(odd)}")


def _adapt(layer: Any, down: torch.Tensor, up: torch.Tensor) -> None:
    """Add `(x down^T) up^T` to what the layer computes."""
    import torch

    a = down.to(layer.weight).t().contiguous()
    b = up.to(layer.weight).t().contiguous()
    weight, bias = layer.weight, layer.bias

    def forward(x: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        out = torch.addmm(torch.nn.functional.linear(flat, weight, bias), flat @ a, b)
        return out.view(*x.shape[:-1], out.shape[-1])

    layer.forward = forward
