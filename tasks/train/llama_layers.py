"""Puts the fused functions into a model's layers, in place."""

from __future__ import annotations

import types
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tasks.train.fused import LoraProducts, RmsNorm, Rotary, ShortAttention, SwiGlu, apply

_BLOCKS = frozenset({"LlamaDecoderLayer"})
_SILU = frozenset({"SiLU", "SiLUActivation"})
_LAYERS_OF_A_BLOCK = 7  # q, k, v, o, gate, up, down
_SHORT_SCORES = 4_000_000  # elements; 8 MB in bf16


def fuse(model: Any) -> dict[str, int]:
    """Replace the forward of adapted layers, attention, MLP and norms; how many of each were replaced.

    Layers of another architecture keep their own forward, except that every adapted linear layer gets the fused one.
    """
    counts = {"blocks": 0, "norms": 0, "linears": 0}
    for module in model.modules():
        if type(module).__name__ in _BLOCKS and _is_fusible(module):
            _fuse_block(module)
            counts["blocks"] += 1
        elif type(module).__name__ == "LlamaRMSNorm":
            module.forward = types.MethodType(_norm_forward, module)
            counts["norms"] += 1
        elif _is_plain_lora(module):
            module.forward = types.MethodType(_linear_forward, module)
            counts["linears"] += 1
    return counts


def _is_plain_lora(module: Any) -> bool:
    """A low-rank layer over dense weights, without dropout (which the fused products leave out)."""
    return (
        hasattr(module, "lora_A")
        and type(module.base_layer) is torch.nn.Linear
        and isinstance(module.lora_dropout["default"], torch.nn.Identity)
    )


def _is_fusible(block: Any) -> bool:
    """All its layers are adapted, dense and without bias, and its activation is the one that SwiGLU has."""
    layers = [m for m in block.modules() if hasattr(m, "base_layer")]
    return (
        len(layers) == _LAYERS_OF_A_BLOCK
        and all(_is_plain_lora(m) and m.base_layer.bias is None for m in layers)
        and type(block.mlp.act_fn).__name__ in _SILU
    )


def _norm_forward(self: Any, x: Tensor) -> Tensor:
    return apply(RmsNorm, x, self.weight, self.variance_epsilon)


def _products(x: Tensor, weight: Tensor, layers: tuple[Any, ...]) -> Tensor:
    flat = x.reshape(-1, x.shape[-1])
    downs = [layer.lora_A["default"].weight for layer in layers]
    ups = [layer.lora_B["default"].weight for layer in layers]
    out = apply(LoraProducts, flat, weight, layers[0].scaling["default"], *downs, *ups)
    return out.view(*x.shape[:-1], -1)


def _linear_forward(self: Any, x: Tensor, *_: Any, **__: Any) -> Tensor:
    out = _products(x, self.base_layer.weight, (self,))
    return out if self.base_layer.bias is None else out + self.base_layer.bias


def _fuse_block(block: Any) -> None:
    attention, mlp = block.self_attn, block.mlp
    attention.joined = _joined((attention.q_proj, attention.k_proj, attention.v_proj))
    mlp.joined = _joined((mlp.gate_proj, mlp.up_proj))
    attention.forward = types.MethodType(_attention_forward, attention)
    mlp.forward = types.MethodType(_mlp_forward, mlp)


def _joined(layers: tuple[Any, ...]) -> Tensor:
    """One matrix of the layers' frozen weights; the layers become views of it, so that nothing is kept twice."""
    weight = torch.cat([layer.base_layer.weight.data for layer in layers])
    start = 0
    for layer in layers:
        rows = layer.base_layer.weight.shape[0]
        layer.base_layer.weight.data = weight[start : start + rows]
        start += rows
    return weight


def _mlp_forward(self: Any, x: Tensor) -> Tensor:
    out: Tensor = self.down_proj(apply(SwiGlu, _products(x, self.joined, (self.gate_proj, self.up_proj))))
    return out


def _attention_forward(
    self: Any, hidden_states: Tensor, position_embeddings: tuple[Tensor, Tensor], **_: Any
) -> tuple[Tensor, None]:
    """Causal attention of right-padded rows: what is padded comes after everything real, so no mask is needed."""
    rows, length = hidden_states.shape[:2]
    joined = _products(hidden_states, self.joined, (self.q_proj, self.k_proj, self.v_proj))
    heads = joined.view(rows, length, -1, self.head_dim)
    groups, half = self.num_key_value_groups, self.head_dim // 2
    kv = heads.shape[2] // (groups + 2)
    cos, sin = position_embeddings
    turned = apply(Rotary, heads[:, :, : (groups + 1) * kv], cos[0, :, :half], sin[0, :, :half])
    query, key = torch.split(turned, [groups * kv, kv], dim=2)
    return self.o_proj(_attend(query, key, heads[:, :, (groups + 1) * kv :], self.scaling)), None


def _attend(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """The short form where a layer's scores fit a processor's cache, torch's own kernel otherwise."""
    rows, length, heads, _ = query.shape
    if query.device.type == "cpu" and rows * heads * length * length <= _SHORT_SCORES:
        return apply(ShortAttention, query, key, value, scale)
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    grouped = q.shape[1] != k.shape[1]
    out = functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=grouped)
    return out.transpose(1, 2).flatten(2)
