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


def slowness(precision: Precision, device: str) -> str:
    """What to tell where a device of this type has no instructions for the type; empty where it has them."""
    if precision == "fp32" or multiplies_bf16(device):
        return ""
    return (
        "it computes in bf16, which this machine has no instructions for: some hundred times slower than fp32; "
        "a new training with train.precision: fp32 would not be"
    )


def torch_type(precision: Precision) -> torch.dtype:
    """The tensor type of a precision."""
    import torch

    return torch.bfloat16 if precision == "bf16" else torch.float32
