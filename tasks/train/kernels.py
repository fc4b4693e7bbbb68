"""The elementwise parts of a block: root mean square norm and SwiGLU, forward and backward, in few passes over memory.

Each is a plain function of tensors, so that torch.compile can make one loop of it. The products around them are a
library's already; compiling these four takes seconds where whole blocks take minutes, and their shapes never matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


def norm(x: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """`weight * (x / rms(x))` and 1 / rms(x); the mean of squares is taken in fp32."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    inverse = length.square().div(x.shape[-1]).add(epsilon).rsqrt()
    return (x * inverse).to(x.dtype) * weight, inverse


def norm_back(grad: Tensor, x: Tensor, weight: Tensor, inverse: Tensor) -> Tensor:
    """Gradient of `norm` with respect to x."""
    normal = (x * inverse).to(x.dtype)
    grad = grad * weight
    shared = (grad * normal).sum(-1, keepdim=True, dtype=torch.float32).div(grad.shape[-1])
    return torch.addcmul(grad, normal, shared.to(grad.dtype), value=-1).mul(inverse).to(grad.dtype)


def swiglu(both: Tensor) -> Tensor:
    """`silu(gate) * up` of one tensor that holds gate and up side by side."""
    gate, up = both.chunk(2, dim=-1)
    return functional.silu(gate).mul_(up)


def swiglu_back(grad: Tensor, both: Tensor) -> Tensor:
    """Gradient of `swiglu`."""
    gate, up = both.chunk(2, dim=-1)
    out = torch.empty_like(both)
    to_gate, to_up = out.chunk(2, dim=-1)
    torch.mul(functional.silu(gate), grad, out=to_up)
    to_gate.copy_(torch.ops.aten.silu_backward(grad * up, gate))
    return out


class Kernels(NamedTuple):
    """What a block's elementwise parts are computed with."""

    norm: Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]] = norm
    norm_back: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] = norm_back
    swiglu: Callable[[Tensor], Tensor] = swiglu
    swiglu_back: Callable[[Tensor, Tensor], Tensor] = swiglu_back


EAGER = Kernels()
