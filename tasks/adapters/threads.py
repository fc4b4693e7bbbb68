"""How worker processes use the processor. Read by torch's libraries when they are loaded, so set before that."""

from __future__ import annotations

import os

import psutil

KEPT_PRODUCTS = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


def physical_cores() -> int:
    """Physical cores this process may use (threads beyond them only slow matrix products down)."""
    return max(1, min(psutil.cpu_count(logical=False) or 1, len(os.sched_getaffinity(0))))


def kept_products() -> int:
    """Compiled products that oneDNN keeps in a worker; like oneDNN, what is no number counts as none."""
    value = thread_environment()[KEPT_PRODUCTS]
    return int(value) if value.isdecimal() else 0


def thread_environment() -> dict[str, str]:
    """Environment of a process that computes; what the user has set already is kept.

    Waiting threads sleep instead of spinning: with another busy program on the machine, two spinning threads on one
    core made a matrix product fifteen times slower. They spin for about ten microseconds first: waking a thread for
    each of the many small operations of a training step took up to half of their time.

    oneDNN keeps few compiled products: every new number of tokens makes some thirty of them, and 1,024 (its default)
    held 0.8 GB. Steps of ever new sizes took no longer with 64.
    """
    chosen = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "3000", KEPT_PRODUCTS: "64"}
    return {name: os.environ.get(name, value) for name, value in chosen.items()}
