"""Puts the fused functions into a model's layers, in place."""

from __future__ import annotations

import types
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tasks.train.fused import JoinedProducts, LoraProducts, RmsNorm, Rotary, ShortAttention, SwiGlu, apply
from tasks.train.kernels import EAGER, Kernels
from tasks.train.packing import Segments, by_row, by_token

_BLOCKS = frozenset({"LlamaDecoderLayer"})
_SILU = frozenset({"SiLU", "SiLUActivation"})
_LAYERS_OF_A_BLOCK = 7  # q, k, v, o, gate, up, down
# Scores of attention. At once: 8 MB in bf16, which stay in a processor's cache. Of one row: 333 tokens with nine
# heads; of many longer rows the gain is smaller, and their scores are kept for the backward pass.
_SHORT_SCORES, _ROW_SCORES = 4_000_000, 1_000_000


def fuse(model: Any, kernels: Kernels = EAGER) -> dict[str, int]:
    """Replace the forward of adapted layers, attention, MLP and norms; how many of each were replaced.

    Layers of another architecture keep their own forward, except that every adapted linear layer gets the fused one.
    """
    counts = {"blocks": 0, "norms": 0, "linears": 0}
    for module in model.modules():
        if type(module).__name__ in _BLOCKS and _is_fusible(module):
            _fuse_block(module, kernels)
            counts["blocks"] += 1
        elif type(module).__name__ == "LlamaRMSNorm":
            module.kernels = kernels
            module.forward = types.MethodType(_norm_forward, module)
            counts["norms"] += 1
        elif _is_plain_lora(module):
            module.forward = types.MethodType(_linear_forward, module)
            counts["linears"] += 1
    return counts


def is_fused(model: Any) -> bool:
    """Whether every block of the model has the fused attention, which keeps the rows of a pack apart by itself."""
    blocks = model.get_decoder().layers
    return all(getattr(block.self_attn.forward, "__func__", None) is _attention_forward for block in blocks)


def _is_plain_lora(module: Any) -> bool:
    """A low-rank layer over dense weights, without dropout or magnitudes (which the fused products leave out)."""
    return (
        hasattr(module, "lora_A")
        and type(module.base_layer) is torch.nn.Linear
        and isinstance(module.lora_dropout["default"], torch.nn.Identity)
        and not module.lora_variant
    )


def _is_fusible(block: Any) -> bool:
    """Its layers are dense and without bias, all adapted or none, and its activation is the one that SwiGLU has."""
    adapted = [m for m in block.modules() if hasattr(m, "base_layer")]
    whole = [m for m in block.modules() if type(m) is torch.nn.Linear]
    return (
        len(whole) == _LAYERS_OF_A_BLOCK + 2 * len(adapted)
        and len(adapted) in (0, _LAYERS_OF_A_BLOCK)
        and all(_is_plain_lora(m) for m in adapted)
        and all(m.bias is None for m in whole)
        and type(block.mlp.act_fn).__name__ in _SILU
    )


def _norm_forward(self: Any, x: Tensor) -> Tensor:
    return apply(RmsNorm, x, self.weight, self.variance_epsilon, self.kernels)


def _products(x: Tensor, weight: Tensor | None, layers: tuple[Any, ...]) -> Tensor:
    """What the layers compute, side by side. `weight` is what `_joined` made of them, None if they are not adapted."""
    if weight is None:
        return functional.linear(x, torch.cat([layer.weight.to(x.dtype) for layer in layers]))
    if layers[0].disable_adapters:
        return functional.linear(x, weight[:, : x.shape[-1]])
    downs = [layer.lora_A["default"].weight for layer in layers]
    ups = [layer.lora_B["default"].weight for layer in layers]
    out = apply(JoinedProducts, x.flatten(0, -2), weight, layers[0].scaling["default"], *downs, *ups)
    return out.view(*x.shape[:-1], -1)


def _linear_forward(self: Any, x: Tensor, *_: Any, **__: Any) -> Tensor:
    weight, bias = self.base_layer.weight, self.base_layer.bias
    if self.disable_adapters:
        return functional.linear(x, weight, bias)
    down, up = (part["default"].weight for part in (self.lora_A, self.lora_B))
    out = apply(LoraProducts, x.flatten(0, -2), weight, self.scaling["default"], down, up).view(*x.shape[:-1], -1)
    return out if bias is None else out + bias


def _fuse_block(block: Any, kernels: Kernels) -> None:
    attention, mlp = block.self_attn, block.mlp
    attention.joined = _joined((attention.q_proj, attention.k_proj, attention.v_proj))
    mlp.joined = _joined((mlp.gate_proj, mlp.up_proj))
    mlp.kernels = kernels
    attention.forward = types.MethodType(_attention_forward, attention)
    mlp.forward = types.MethodType(_mlp_forward, mlp)


def _joined(layers: tuple[Any, ...]) -> Tensor | None:
    """One matrix of the layers' frozen weights, with room for their adapters on its right (`JoinedProducts`).

    The layers become views of it, so that nothing is kept twice. None where the layers are not adapted: their weights
    are learned, each on its own.
    """
    if not hasattr(layers[0], "base_layer"):
        return None
    weights = [layer.base_layer.weight.data for layer in layers]
    ranks = sum(layer.lora_B["default"].weight.shape[1] for layer in layers)
    whole = functional.pad(torch.cat(weights), (0, ranks))
    rows = torch.split(whole[:, :-ranks], [len(weight) for weight in weights])
    for layer, part in zip(layers, rows, strict=True):
        layer.base_layer.weight.data = part
    return whole


def _mlp_forward(self: Any, x: Tensor) -> Tensor:
    both = _products(x, self.joined, (self.gate_proj, self.up_proj))
    out: Tensor = self.down_proj(apply(SwiGlu, both, self.kernels))
    return out


def _attention_forward(
    self: Any,
    hidden_states: Tensor,
    position_embeddings: tuple[Tensor, Tensor],
    segments: Segments | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention, of each row of a pack by itself (`segments`), or of right-padded rows.

    What is padded on the right comes after everything real, so no mask is needed in either case.
    """
    joined = _products(hidden_states, self.joined, (self.q_proj, self.k_proj, self.v_proj))
    heads = joined.view(*hidden_states.shape[:2], -1, self.head_dim)
    kv, half = heads.shape[2] // (self.num_key_value_groups + 2), self.head_dim // 2
    cos, sin = position_embeddings
    turned = apply(Rotary, heads, cos[0, :, :half], sin[0, :, :half], heads.shape[2] - kv)
    if segments is None:
        return self.o_proj(_attend(turned, kv, self.scaling)), None
    parts = torch.split(turned[0], [group.tokens for group in segments.groups])
    done = [
        by_token(_attend(by_row(part, group), kv, self.scaling), group)
        for part, group in zip(parts, segments.groups, strict=True)
    ]
    return self.o_proj(torch.cat(done)[None] if len(done) > 1 else done[0][None]), None


def _attend(heads: Tensor, kv: int, scale: float) -> Tensor:
    """(rows, positions, query, key and value heads, width) → (rows, positions, query heads * width).

    The short form where the scores of all rows fit a processor's cache, or of some rows at a time if they are short;
    else torch's own kernel: for 80 rows of 75 tokens it takes seven times as long (docs/log.md).
    """
    rows, length, count, _ = heads.shape
    query, key, value = torch.split(heads, [count - 2 * kv, kv, kv], dim=2)
    of_a_row = query.shape[2] * length**2
    at_once = _SHORT_SCORES // of_a_row
    if query.device.type == "cpu" and at_once and (rows <= at_once or of_a_row <= _ROW_SCORES):
        parts = zip(*(torch.split(x, at_once) for x in (query, key, value)), strict=True)
        done = [apply(ShortAttention, *part, scale) for part in parts]
        return torch.cat(done) if len(done) > 1 else done[0]
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    grouped = q.shape[1] != k.shape[1]
    out = functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=grouped)
    return out.transpose(1, 2).flatten(2)
