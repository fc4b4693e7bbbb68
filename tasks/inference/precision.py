"""The type that a model is computed in: bf16 where the device multiplies such numbers by itself, else fp32.

Weights have the same values in both; in fp32 sums and states in between are more precise, and take twice the memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.adapters.devices import cpu_multiplies_bf16
from tasks.contracts import Precision

if TYPE_CHECKING:
    import torch


def multiplies_bf16(device: str) -> bool:
    """Whether a device of this type (cuda, cpu) has instructions for products of bf16 numbers."""
    import torch

    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return cpu_multiplies_bf16()


def native_precision(device: str) -> Precision:
    """What a device of this type computes fastest without losing what was learned."""
    return "bf16" if multiplies_bf16(device) else "fp32"


def torch_type(precision: Precision) -> torch.dtype:
    """The tensor type of a precision."""
    import torch

    return torch.bfloat16 if precision == "bf16" else torch.float32
