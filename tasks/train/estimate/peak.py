"""What a process holds of the memory that training needs, now and at its highest: a GPU's, or the machine's."""

from __future__ import annotations

import ctypes

import torch

from tasks.adapters.devices import peak_bytes, reset_peak, resident_bytes


def begin_peak() -> bool:
    """Count the highest memory of this process from here; whether the system can do that."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return True
    return reset_peak()


def peak() -> int:
    """Highest memory of this process since `begin_peak`."""
    return int(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else peak_bytes()


def used_bytes() -> int:
    """Memory that the process holds now."""
    return torch.cuda.memory_allocated() if torch.cuda.is_available() else resident_bytes()


def give_back() -> None:
    """Return what was freed to the system: kept by the C library, it would hide what the next step really takes."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc only
    if trim is not None:
        trim(0)
