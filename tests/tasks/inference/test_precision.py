"""The type that models are computed in follows from what the processor can multiply."""

from __future__ import annotations

import torch

from tasks.adapters.devices import cpu_multiplies_bf16
from tasks.inference.precision import multiplies_bf16, native_precision, torch_type


def test_the_processor_of_this_machine_decides() -> None:
    assert multiplies_bf16("cpu") == cpu_multiplies_bf16()
    assert native_precision("cpu") == ("bf16" if cpu_multiplies_bf16() else "fp32")


def test_tensor_types() -> None:
    assert torch_type("bf16") is torch.bfloat16
    assert torch_type("fp32") is torch.float32
