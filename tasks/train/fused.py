"""Fewer and larger operations for the layers of Llama-like models, with hand-written gradients.

Frozen base weights get no gradient, so much of what autograd would keep and compute is not needed. The functions here
compute the same values as the layers they replace (compared in the tests) in about half the time on a CPU:

- one product for q, k and v, and one for gate and up, the low-rank part included;
- adapters are kept in fp32 and enter the products in the base weights' type, so small updates are not rounded away;
- root mean square norm, rotary embedding and SwiGLU in few passes over memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tasks.inference.head import PLAIN, Finish, products
from tasks.train.kernels import Kernels

_Gradients = tuple[Tensor | None, ...]


def apply(function: type[torch.autograd.Function], *arguments: Any) -> Tensor:
    """The value of one of the functions below."""
    value: Tensor = function.apply(*arguments)  # type: ignore[no-untyped-call]
    return value


class JoinedProducts(torch.autograd.Function):
    """`x W_j^T + scale (x A_j^T) B_j^T` for several j side by side, as one product with `[W | scale B]`.

    Args of apply: x (rows, in), `weight` (sum of outs, in + sum of ranks), scale, then all A_j (rank, in), then all B_j
    (out_j, rank). The left part of `weight` holds all W_j below each other and is frozen; the right part is written
    here, with each B_j beside its W_j. Both stay what they are until the next change of the adapters.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: float, *adapters: Tensor) -> Tensor:
        count, width = len(adapters) // 2, x.shape[1]
        a = torch.cat(adapters[:count]).to(x.dtype)
        shapes = [tuple(up.shape) for up in adapters[count:]]
        for corner, up in zip(_corners(weight, width, shapes), adapters[count:], strict=True):
            corner.copy_(up * scale)
        wide = x.new_empty(len(x), weight.shape[1])
        wide[:, :width] = x
        torch.mm(x, a.t(), out=wide[:, width:])
        ctx.save_for_backward(wide, a)
        ctx.weight, ctx.scale, ctx.dtype, ctx.shapes = weight, scale, adapters[0].dtype, shapes
        return wide @ weight.t()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> _Gradients:  # type: ignore[override]
        wide, a = ctx.saved_tensors
        width = a.shape[1]
        x, low = wide[:, :width], wide[:, width:]
        if ctx.needs_input_grad[0]:
            both = grad @ ctx.weight
            back = both[:, width:].contiguous()
            grad_x = torch.addmm(both[:, :width], back, a)
        else:
            back, grad_x = grad @ ctx.weight[:, width:], None
        grad_a = torch.split((back.t() @ x).to(ctx.dtype), [rank for _, rank in ctx.shapes])
        across = low.t() @ grad
        grad_b = [corner.to(ctx.dtype).mul_(ctx.scale) for corner in _corners(across.t(), 0, ctx.shapes)]
        return grad_x, None, None, *grad_a, *grad_b


def _corners(whole: Tensor, start: int, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Views of the blocks on the diagonal of `whole`, from column `start` on."""
    corners, row, column = [], 0, start
    for rows, columns in shapes:
        corners.append(whole[row : row + rows, column : column + columns])
        row, column = row + rows, column + columns
    return corners


class LoraProducts(torch.autograd.Function):
    """`x W^T + scale (x A^T) B^T` of one layer; W is frozen.

    Args of apply: x (rows, in), W (out, in), scale, A (rank, in), B (out, rank).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: float, down: Tensor, up: Tensor) -> Tensor:
        a, b = down.to(x.dtype), (up * scale).to(x.dtype)
        low = x @ a.t()
        ctx.save_for_backward(x, weight, low, a, b)
        ctx.scale, ctx.dtype = scale, down.dtype
        return (x @ weight.t()).addmm_(low, b.t())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> _Gradients:  # type: ignore[override]
        x, weight, low, a, b = ctx.saved_tensors
        back = grad @ b
        grad_a = (back.t() @ x).to(ctx.dtype)
        grad_b = (low.t() @ grad).t().to(ctx.dtype).mul_(ctx.scale)  # in this order the wide side needs no reordering
        grad_x = (grad @ weight).addmm_(back, a) if ctx.needs_input_grad[0] else None
        return grad_x, None, None, grad_a, grad_b


class RmsNorm(torch.autograd.Function):
    """`weight * (x / rms(x))`. Args of apply: x, weight, epsilon, kernels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float, kernels: Kernels) -> Tensor:
        out, inverse = kernels.norm(x, weight.to(x.dtype), epsilon)
        ctx.save_for_backward(x, weight, inverse)
        ctx.kernels = kernels
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> _Gradients:  # type: ignore[override]
        x, weight, inverse = ctx.saved_tensors
        to_weight = None
        if ctx.needs_input_grad[1]:
            to_weight = (grad * (x * inverse).to(x.dtype)).flatten(0, -2).sum(0, dtype=torch.float32).to(weight.dtype)
        return ctx.kernels.norm_back(grad, x, weight.to(x.dtype), inverse), to_weight, None, None


class Rotary(torch.autograd.Function):
    """Rotary embedding of the first `turned` heads of x (rows, positions, heads, width); the others stay as they are.

    Args of apply: x, cos and sin (positions, width / 2), turned.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor, turned: int) -> Tensor:
        ctx.save_for_backward(cos, sin)
        ctx.turned = turned
        return _rotate(x, cos, sin, turned)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> _Gradients:  # type: ignore[override]
        cos, sin = ctx.saved_tensors
        return _rotate(grad, cos, -sin, ctx.turned), None, None, None


def _rotate(x: Tensor, cos: Tensor, sin: Tensor, turned: int) -> Tensor:
    out = x.clone()
    (first, second), (to_first, to_second) = (t[:, :, :turned].chunk(2, dim=-1) for t in (x, out))
    cos, sin = cos[:, None], sin[:, None]
    torch.mul(first, cos, out=to_first).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=to_second).addcmul_(first, sin)
    return out


class SwiGlu(torch.autograd.Function):
    """`silu(gate) * up` of one tensor that holds gate and up side by side. Args of apply: the tensor, kernels."""

    @staticmethod
    def forward(ctx: Any, both: Tensor, kernels: Kernels) -> Tensor:
        ctx.save_for_backward(both)
        ctx.kernels = kernels
        return kernels.swiglu(both)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> _Gradients:  # type: ignore[override]
        return ctx.kernels.swiglu_back(grad, ctx.saved_tensors[0]), None


class ShortAttention(torch.autograd.Function):
    """Causal attention with grouped queries as few large products, for rows so short that the scores fit the cache.

    Args of apply: query (rows, positions, heads, width), key and value (rows, positions, kv heads, width), scale.
    Returns (rows, positions, heads * width).
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        rows, length, heads, width = query.shape
        kv = key.shape[2]
        q = _by_kv_head(query, kv)
        k, v = (x.transpose(1, 2).reshape(rows * kv, length, width) for x in (key, value))
        later = torch.full((length, length), -torch.inf, dtype=query.dtype, device=query.device).triu_(1)
        shares = torch.softmax(torch.baddbmm(later.repeat(heads // kv, 1), q, k.transpose(1, 2), alpha=scale), dim=-1)
        ctx.save_for_backward(q, k, v, shares)
        ctx.scale, ctx.shape = scale, query.shape
        return _by_position(torch.bmm(shares, v), query.shape, kv).flatten(2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> _Gradients:  # type: ignore[override]
        q, k, v, shares = ctx.saved_tensors
        rows, length, _, width = ctx.shape
        kv = len(k) // rows
        back = _by_kv_head(grad.view(ctx.shape), kv)
        to_shares = torch.bmm(back, v.transpose(1, 2))
        to_scores = torch._softmax_backward_data(to_shares, shares, -1, shares.dtype).mul_(ctx.scale)
        to_value = torch.bmm(shares.transpose(1, 2), back).view(rows, kv, length, width).transpose(1, 2)
        to_key = torch.bmm(to_scores.transpose(1, 2), q).view(rows, kv, length, width).transpose(1, 2)
        return _by_position(torch.bmm(to_scores, k), ctx.shape, kv), to_key, to_value, None


def _by_kv_head(query: Tensor, kv: int) -> Tensor:
    """(rows, positions, heads, width) → (rows * kv heads, heads of the group * positions, width)."""
    rows, length, heads, width = query.shape
    grouped = query.view(rows, length, kv, heads // kv, width).permute(0, 2, 3, 1, 4)
    return grouped.reshape(rows * kv, heads // kv * length, width)


def _by_position(x: Tensor, shape: Sequence[int], kv: int) -> Tensor:
    """Undoes `_by_kv_head`."""
    rows, length, heads, width = shape
    return x.view(rows, kv, heads // kv, length, width).permute(0, 3, 1, 2, 4).reshape(shape)


class Chosen(torch.autograd.Function):
    """Some rows of x (rows, ...), each at most once: then the gradient is copied back, with no sums to order.

    Args of apply: x, numbers of the rows.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.shape = x.shape
        return x.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> _Gradients:  # type: ignore[override]
        (rows,) = ctx.saved_tensors
        return grad.new_zeros(ctx.shape).index_copy_(0, rows, grad), None


class AnswerLoss(torch.autograd.Function):
    """Summed cross-entropy of a head, computed in slices: the logits of all tokens never exist at once.

    Args of apply: hidden (tokens, width), head (vocabulary, width), targets (tokens), and where the model has them the
    head's bias (vocabulary) and what it makes of the products. The gradients are made on the way forward, while a
    slice's logits are still in the cache; those of head and bias only if they are learned.
    """

    SLICE_TOKENS = 256

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, bias: Tensor | None = None, finish: Finish = PLAIN
    ) -> Tensor:
        to_hidden, total = torch.empty_like(hidden), hidden.new_zeros((), dtype=torch.float32)
        to_head = torch.zeros_like(head) if ctx.needs_input_grad[1] else None
        to_bias = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[3] else None
        weight, added = head.to(hidden.dtype), None if bias is None else bias.to(hidden.dtype)
        for part, wanted, to_part in zip(
            *(torch.split(x, AnswerLoss.SLICE_TOKENS) for x in (hidden, targets[:, None], to_hidden)), strict=True
        ):
            loss, back = _slice_loss(finish.logits(products(part, weight, added)), wanted, finish)
            total += loss
            low = back.to(weight.dtype)
            torch.mm(low, weight, out=to_part)
            if to_head is not None:
                to_head += low.t() @ part
            if to_bias is not None:
                to_bias += back.sum(0)
        ctx.save_for_backward(to_hidden, to_head, to_bias)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> _Gradients:  # type: ignore[override]
        to_hidden, *learned = ctx.saved_tensors
        to_head, to_bias = (None if one is None else one * grad.to(one.dtype) for one in learned)
        return to_hidden * grad.to(to_hidden.dtype), to_head, None, to_bias, None


def _slice_loss(logits: Tensor, wanted: Tensor, finish: Finish) -> tuple[Tensor, Tensor]:
    """Summed cross-entropy of a slice, and its gradient by the products; both in fp32."""
    log_shares = torch.log_softmax(logits, dim=-1, dtype=torch.float32)
    loss = -log_shares.gather(1, wanted).sum()
    shares = log_shares.exp_()
    shares.scatter_add_(1, wanted, shares.new_full(wanted.shape, -1.0))
    return loss, shares if finish.plain else shares.mul_(finish.slope(logits))
