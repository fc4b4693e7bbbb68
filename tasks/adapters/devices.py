"""What this machine computes with, and how much memory is left on it; without loading any library for it."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil

_GPUS = Path("/proc/driver/nvidia/gpus")
_CPUS = Path("/proc/cpuinfo")
_BF16_INSTRUCTIONS = frozenset({"avx512_bf16", "amx_bf16"})
_CGROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def gpu_names(folder: Path = _GPUS) -> tuple[str, ...]:
    """Names of the NVIDIA GPUs that this process may use, as their driver tells them; empty: none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return ()
    found = []
    for file in sorted(folder.glob("*/information")):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "Model":
                found.append(value.strip())
    return tuple(found[: len(visible.split(","))] if visible else found)


def cpu_name(file: Path = _CPUS) -> str:
    """`cpu AMD EPYC 9B14, 2 cores`."""
    from tasks.adapters.threads import physical_cores

    name = platform.machine()
    if file.is_file():
        names = [line.partition(":")[2].strip() for line in file.read_text(encoding="utf-8").splitlines()
                 if line.startswith("model name")]  # fmt: skip
        name = names[0] if names else name
    return f"cpu {name}, {physical_cores()} cores"


def cpu_multiplies_bf16(file: Path = _CPUS) -> bool:
    """Whether the processor has instructions for products of bf16 numbers.

    Without them the libraries multiply such matrices number by number: 0.3 to 0.8 GFLOP/s were measured where fp32 ones
    ran at 107 (docs/decisions/0010).
    """
    if not file.is_file():
        return False
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags")), "")
    return not _BF16_INSTRUCTIONS.isdisjoint(flags.split())


def available_bytes(cgroups: Path = _CGROUPS, own: Path = _OWN) -> int:
    """Main memory that can still be had: what the machine has left, or this process's group if that is less."""
    return min([psutil.virtual_memory().available, *_left_in_group(cgroups, own)])


def _left_in_group(cgroups: Path, own: Path) -> list[int]:
    """Of a group with a limit (version 2): what is left, memory that only caches files counted as free."""
    try:
        path = next(
            line.split(":", 2)[2] for line in own.read_text(encoding="ascii").splitlines() if line.startswith("0:")
        )
        folder = cgroups / path.lstrip("/")
        limit = (folder / "memory.max").read_text(encoding="ascii").strip()
        used = int((folder / "memory.current").read_text(encoding="ascii"))
        cached = [int(line.split()[1]) for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines()
                  if line.startswith("inactive_file ")]  # fmt: skip
    except (OSError, StopIteration, ValueError):
        return []
    return [] if limit == "max" else [max(0, int(limit) - used + sum(cached))]


def reset_peak() -> bool:
    """Have the highest memory of this process counted from now on; whether the system can do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def resident_bytes() -> int:
    """Main memory of this process."""
    return int(psutil.Process().memory_info().rss)


def peak_bytes() -> int:
    """Highest main memory of this process since `reset_peak`; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
