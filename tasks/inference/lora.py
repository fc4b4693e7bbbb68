"""Low-rank adapters at inference: read from a PEFT folder and computed beside the base weights, never merged.

Merging would round base plus update once more: other numbers than in training. Computed apart, an adapter costs
two small products a layer. LoRA, rsLoRA (another scale) and DoRA (a trained length for each row of the weights).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import UsageError
from tasks.inference.weights import linear_layers

if TYPE_CHECKING:
    import torch

_PREFIX = "base_model.model."
# Settings of PEFT that change what an adapter computes; any other value than these is not what we train.
_PLAIN = {"peft_type": "LORA", "bias": "none", "fan_in_fan_out": False}


def attach(model: Any, folder: Path) -> None:
    """Make the model's linear layers compute with the adapter in `folder`.

    Raises:
        UsageError: the adapter is of a kind that is not supported, or does not fit the model.
    """
    from safetensors.torch import load_file

    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    _check_plain(config, folder)
    tensors = load_file(str(folder / "adapter_model.safetensors"))
    scale = scaling(config)
    for name, layer in linear_layers(model):
        down = tensors.pop(f"{_PREFIX}{name}.lora_A.weight", None)
        up = tensors.pop(f"{_PREFIX}{name}.lora_B.weight", None)
        magnitude = tensors.pop(f"{_PREFIX}{name}.lora_magnitude_vector", None)
        if down is not None and up is not None:
            _adapt(layer, down, up * scale, magnitude, model.get_input_embeddings().weight.dtype)
    if tensors:
        left = next(iter(tensors))
        raise UsageError("the adapter does not fit the base model", where=str(folder), why=f"no layer for {left}")


def scaling(config: dict[str, Any]) -> float:
    """What the low-rank product is multiplied with: alpha/rank, or alpha/sqrt(rank) (rsLoRA, arXiv 2312.03732)."""
    rank = config["r"]
    return float(config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank))


def _check_plain(config: dict[str, Any], folder: Path) -> None:
    odd = [key for key, value in _PLAIN.items() if config.get(key, value) != value]
    odd += [key for key in ("modules_to_save", "rank_pattern", "alpha_pattern") if config.get(key)]
    if odd:
        raise UsageError("this kind of adapter is not supported", where=str(folder), why=f"set: {', '.join(odd)}")


def _adapt(
    layer: Any, down: torch.Tensor, up: torch.Tensor, magnitude: torch.Tensor | None, computed_in: torch.dtype
) -> None:
    """Add `(x down^T) up^T` to what the layer computes; with a magnitude, each output is then scaled to its length.

    A quantised layer has no type that is computed in; it is that of its inputs.
    """
    import torch

    place = layer.weight.device
    kind = layer.weight.dtype if layer.weight.dtype.is_floating_point else computed_in
    a = down.to(place, kind).t().contiguous()
    b = up.to(place, kind).t().contiguous()
    length = None if magnitude is None else _length_share(layer.weight, down, up, magnitude)
    product, bias = _product(layer, with_bias=length is None), layer.bias

    def forward(x: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        out = torch.addmm(product(flat), flat @ a, b)
        if length is not None:
            out = (out * length).to(out.dtype)
            out = out if bias is None else out + bias
        return out.view(*x.shape[:-1], out.shape[-1])

    layer.forward = forward


def _product(layer: Any, *, with_bias: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    """What the layer computes without an adapter. Layers of another type than dense ones do it themselves."""
    import torch

    if not layer.weight.dtype.is_floating_point:
        own: Callable[[torch.Tensor], torch.Tensor] = layer.forward
        return own
    weight, bias = layer.weight, layer.bias if with_bias else None
    return lambda flat: torch.nn.functional.linear(flat, weight, bias)


def _length_share(weight: torch.Tensor, down: torch.Tensor, up: torch.Tensor, magnitude: torch.Tensor) -> torch.Tensor:
    """Trained length of each row of the weights over the length it has now (DoRA, arXiv 2402.09353, equation 5)."""
    import torch

    if not weight.dtype.is_floating_point:
        raise UsageError("this kind of adapter is not supported", why="DoRA over 8-bit weights")
    place = weight.device
    changed = weight.float() + up.to(place).float() @ down.to(place).float()
    share: torch.Tensor = magnitude.to(place).float() / torch.linalg.vector_norm(changed, dim=1)
    return share
