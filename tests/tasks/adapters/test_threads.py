"""The environment of processes that compute: ours where the user has set nothing, and what follows from it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from tasks.adapters.threads import KEPT_PRODUCTS, heap_settings, kept_products, physical_cores, thread_environment


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in thread_environment():
        monkeypatch.delenv(name, raising=False)
    chosen = thread_environment()
    assert chosen["OMP_WAIT_POLICY"] == "PASSIVE"
    assert "hugetlb=1" in chosen["GLIBC_TUNABLES"]
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=2")
    assert thread_environment() == chosen | {"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}


def test_the_larger_of_both_caches_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEPT_PRODUCTS:
        monkeypatch.delenv(name, raising=False)
    assert kept_products() == 64
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "1024")
    assert kept_products() == 1024
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "many")
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "0")
    assert kept_products() == 0


def test_no_more_cores_than_may_be_used() -> None:
    assert physical_cores() >= 1


HELD = """
import os, psutil
for size in (32, 256):  # MiB
    block = bytearray(os.urandom(1 << 16) * 16 * size)
    full, block = psutil.Process().memory_info().rss, None
    print((full - psutil.Process().memory_info().rss) >> 20)
"""


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which nobody has set anything of the heap."""
    for name in list(os.environ):
        if name == "GLIBC_TUNABLES" or name.startswith("MALLOC_"):
            monkeypatch.delenv(name)
    return monkeypatch


def given_back(settings: dict[str, str]) -> list[int]:
    """MiB that a process returns of blocks of 32 and of 256 MiB."""
    said = subprocess.check_output([sys.executable, "-c", HELD], env=dict(os.environ) | settings, text=True)
    return [int(line) for line in said.split()]


@pytest.mark.skipif("trim" not in heap_settings(*platform.libc_ver()), reason="another C library, older, or set up")
def test_a_worker_keeps_the_memory_that_its_next_step_needs_again(untouched: pytest.MonkeyPatch) -> None:
    assert given_back({}) == pytest.approx([32, 256], abs=4)
    assert given_back(thread_environment()) == pytest.approx([0, 256], abs=4)
    untouched.setenv("MALLOC_TRIM_THRESHOLD_", "65536")  # tunables would count more than it
    assert given_back(thread_environment()) == pytest.approx([32, 256], abs=4)


@pytest.mark.parametrize(
    ("library", "version", "kept"),
    [("glibc", "2.36", True), ("glibc", "2.41", True), ("glibc", "3.0", True), ("glibc", "2.31", False),
     ("glibc", "", False), ("musl", "2.40", False), ("", "", False)],
)  # fmt: skip
def test_a_heap_is_kept_where_the_c_library_takes_the_settings(
    library: str, version: str, kept: bool, untouched: pytest.MonkeyPatch
) -> None:
    assert ("trim_threshold" in heap_settings(library, version)) is kept
