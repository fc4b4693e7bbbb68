"""Compilation by torch.compile, with a cache on disk that later trainings find.

Where blocks are fused only their elementwise parts are compiled, once for all blocks; else whole blocks are.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tasks.settings import Settings
from tasks.train.kernels import Kernels

_CACHE = "TORCHINDUCTOR_CACHE_DIR"


def compiled_kernels() -> Kernels:
    """The elementwise parts, each compiled when it is first called, for any number of tokens."""
    _keep_what_is_compiled()
    kernels: Any = (torch.compile(kernel, dynamic=True) for kernel in (_norm, _norm_back, _swiglu, _swiglu_back))
    return Kernels(*kernels)


# The same values as in `kernels`, written without intermediate tensors of a fixed type: the compiler makes one loop of
# each, and computes in fp32 inside it.


def _norm(x: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    inverse = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + epsilon)
    return (x * inverse).to(x.dtype) * weight, inverse


def _norm_back(grad: Tensor, x: Tensor, weight: Tensor, inverse: Tensor) -> Tensor:
    normal, share = x.float() * inverse, grad.float() * weight.float()
    return ((share - normal * (share * normal).mean(-1, keepdim=True)) * inverse).to(x.dtype)


def _swiglu(both: Tensor) -> Tensor:
    gate, up = (part.float() for part in both.chunk(2, dim=-1))
    return (gate * torch.sigmoid(gate) * up).to(both.dtype)


def _swiglu_back(grad: Tensor, both: Tensor) -> Tensor:
    gate, up = (part.float() for part in both.chunk(2, dim=-1))
    open_share, wide = torch.sigmoid(gate), grad.float()
    active = gate * open_share
    to_gate = wide * up * (open_share + active * (1 - open_share))
    return torch.stack((to_gate.to(both.dtype), (wide * active).to(both.dtype)), dim=-2).flatten(-2)


def compile_blocks(model: Any) -> None:
    """Have each block compiled when it is first called, for sequences of any length."""
    _keep_what_is_compiled()
    for layer in model.get_decoder().layers:
        layer.compile(dynamic=True)


def _keep_what_is_compiled() -> None:
    os.environ.setdefault(_CACHE, str(cache_folder()))


def cache_folder() -> Path:
    """Where compiled code is kept: beside the base models, which all homes share."""
    return Settings().models / "compiled"
