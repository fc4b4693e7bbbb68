"""How worker processes use the processor's cores. Read by the thread pool when torch is loaded, so set before that."""

from __future__ import annotations

import os

import psutil


def physical_cores() -> int:
    """Physical cores this process may use (threads beyond them only slow matrix products down)."""
    return max(1, min(psutil.cpu_count(logical=False) or 1, len(os.sched_getaffinity(0))))


def thread_environment() -> dict[str, str]:
    """Environment of a process that computes; what the user has set already is kept.

    Waiting threads sleep instead of spinning: with another busy program on the machine, two spinning threads on one
    core made a matrix product fifteen times slower. They spin for about ten microseconds first: waking a thread for
    each of the many small operations of a training step took up to half of their time.
    """
    chosen = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "3000"}
    return {name: os.environ.get(name, value) for name, value in chosen.items()}
