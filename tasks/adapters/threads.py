"""How worker processes use the processor and its memory. Read when a process starts or loads torch: set before that."""

from __future__ import annotations

import os
import platform

import psutil

_HUGE_PAGES = "glibc.malloc.hugetlb=1"
_KEPT_HEAP = f"{_HUGE_PAGES}:glibc.malloc.mmap_threshold={64 << 20}:glibc.malloc.trim_threshold={1 << 40}"
_TAKES_THRESHOLD = (2, 36)  # tried with; releases that refuse more than 32 MiB would map each block of 128 KiB
KEPT_PRODUCTS = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")  # oneDNN's own, and torch's in front of it


def physical_cores() -> int:
    """Physical cores this process may use (threads beyond them only slow matrix products down)."""
    return max(1, min(psutil.cpu_count(logical=False) or 1, len(os.sched_getaffinity(0))))


def kept_products() -> int:
    """Compiled products that are kept in a worker; like the libraries, what is no number counts as none."""
    values = (thread_environment()[name] for name in KEPT_PRODUCTS)
    return max(int(value) if value.isdecimal() else 0 for value in values)


def heap_settings(library: str, version: str) -> str:
    """Settings of the C library's heap, for one that takes them and of which the user has set nothing by MALLOC_…_."""
    if any(name.startswith("MALLOC_") for name in os.environ):
        return _HUGE_PAGES
    known = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    return _KEPT_HEAP if library == "glibc" and known >= _TAKES_THRESHOLD else _HUGE_PAGES


def thread_environment() -> dict[str, str]:
    """Environment of a process that computes; what the user has set already is kept.

    Waiting threads sleep instead of spinning: with another busy program on the machine, two spinning threads on one
    core made a matrix product fifteen times slower. They spin for about ten microseconds first: waking a thread for
    each of the many small operations of a training step took up to half of their time.

    Few compiled products are kept: every new number of tokens makes some thirty of them, and 1,024 (the default of
    both caches) held a gigabyte after 64 sizes, in pieces between which nothing larger fits. Steps of ever new sizes
    took no longer with 64 (bench/worker_memory.py).

    glibc asks for huge pages, since small ones were given to it five to sixteen times as often, and keeps what it has:
    its heap would shrink and grow again with every step, and memory that a virtual machine's host has to provide anew
    took a fifth of a step's time, in some steps most of it. Blocks from 64 MiB on (gradients of an embedding) are
    mapped one by one and given back; in the heap they left holes, and full fine-tuning took a fifth more memory.
    """
    chosen = {
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "3000",
        "GLIBC_TUNABLES": heap_settings(*platform.libc_ver()),
    }
    chosen |= dict.fromkeys(KEPT_PRODUCTS, "64")
    return {name: os.environ.get(name, value) for name, value in chosen.items()}
