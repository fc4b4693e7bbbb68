"""Texts by which libraries and the system tell what went wrong. Pure; only known texts are ever repeated to people."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from typing import NamedTuple


class Sign(NamedTuple):
    """A text that was recognised.

    Args:
        why: the part of it that is safe to show: written by the library, numbers included.
    """

    code: str
    why: str
    where: str = ""


# The first pattern that matches a line counts. What a pattern matches is shown, so none may reach into free text.
_PATTERNS: tuple[tuple[str, str, str], ...] = (
    ("TL-TRAIN-OOM-GPU", r"(?:CUDA|HIP|XPU) out of memory\.(?: Tried to allocate [\d.]+ [KMGT]iB)?", "GPU"),
    ("TL-TRAIN-OOM-GPU", r"CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED", "GPU"),
    ("TL-TRAIN-OOM-HOST", r"can't allocate memory(?:: you tried to allocate \d+ bytes)?", "main memory"),
    ("TL-TRAIN-OOM-HOST", r"std::bad_alloc|Cannot allocate memory|\bMemoryError\b", "main memory"),
    # oneDNN, when it gets no memory for its code or its scratch space; it has no other text for that
    ("TL-TRAIN-OOM-HOST", r"(?:^|: )could not create a primitive$|dnnl_out_of_memory", "main memory"),
    ("TL-TRAIN-OOM-HOST", r"(?:pthread_create|Thread creation) failed|can't start new thread", "main memory"),
    ("TL-TRAIN-DISK", r"No space left on device|Disk quota exceeded|File too large|os error (?:28|27|122)\b", "disk"),
    ("TL-TRAIN-DISK", r"database or disk is full", "disk"),
    ("TL-TRAIN-NCCL", r"NCCL (?:error|WARN)[^,;:]{0,40}|nccl(?:System|Remote|UnhandledCuda)Error", "NCCL"),
    ("TL-TRAIN-NCCL", r"Watchdog caught collective operation timeout", "NCCL"),
    ("TL-TRAIN-NCCL", r"Connection closed by peer|Connection reset by peer \[|gloo/transport/tcp", "gloo"),
    ("TL-TRAIN-NCCL", r"\[gloo\] [^\n]{0,40}|Gloo connectFullMesh failed|Timed out waiting \d+ms for", "gloo"),
    ("TL-TRAIN-NCCL", r"DistBackendError|DistStoreError|DistNetworkError|RendezvousTimeoutError", "rendezvous"),
    ("TL-TRAIN-NETWORK", r"LocalEntryNotFoundError|HfHubHTTPError|OfflineModeIsEnabled", "hub"),
    ("TL-TRAIN-NETWORK", r"Max retries exceeded|Temporary failure in name resolution", "network"),
    ("TL-TRAIN-NETWORK", r"Name or service not known|Network is unreachable|No route to host", "network"),
    ("TL-TRAIN-NETWORK", r"Read timed out|Connection (?:refused|timed out)", "network"),
    ("TL-TRAIN-NETWORK", r"\b(?:429 Too Many Requests|50[234] (?:Server Error|Bad Gateway))", "network"),
    ("TL-TRAIN-NETWORK", r"\b503 Service Unavailable", "network"),
    ("TL-TRAIN-NETWORK", r"EndpointConnectionError|ConnectTimeoutError|\bConnectError\b|\bConnectTimeout\b", "network"),
)  # fmt: skip
_COMPILED = tuple((code, re.compile(pattern), where) for code, pattern, where in _PATTERNS)
_NUMBERS = {
    errno.ENOSPC: ("TL-TRAIN-DISK", "disk"),
    errno.EDQUOT: ("TL-TRAIN-DISK", "disk"),
    errno.EFBIG: ("TL-TRAIN-DISK", "disk"),
    errno.ENOMEM: ("TL-TRAIN-OOM-HOST", "main memory"),
    errno.ENETUNREACH: ("TL-TRAIN-NETWORK", "network"),
    errno.EHOSTUNREACH: ("TL-TRAIN-NETWORK", "network"),
    errno.ECONNREFUSED: ("TL-TRAIN-NETWORK", "network"),
    errno.ECONNRESET: ("TL-TRAIN-NETWORK", "network"),
    errno.ETIMEDOUT: ("TL-TRAIN-NETWORK", "network"),
}


def signs_in(text: str) -> Iterator[Sign]:
    """Every known sign in a text, at most one a line."""
    for line in text.splitlines():
        for code, pattern, where in _COMPILED:
            if match := pattern.search(line):
                yield Sign(code, match[0], where)
                break


def sign_of_number(number: int | None) -> Sign | None:
    """What an operating system's error number tells."""
    found = _NUMBERS.get(number) if number is not None else None
    return Sign(found[0], errno.errorcode[number], found[1]) if found and number is not None else None
