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


@pytest.mark.skipif(heap_settings(*platform.libc_ver()) == heap_settings("", ""), reason="another C library, or older")
def test_a_worker_keeps_the_memory_that_its_next_step_needs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    bare = dict(os.environ)
    given_back = [
        [int(line) for line in subprocess.check_output([sys.executable, "-c", HELD], env=env, text=True).split()]
        for env in (bare, bare | thread_environment())
    ]
    assert given_back[0] == pytest.approx([32, 256], abs=4)
    assert given_back[1] == pytest.approx([0, 256], abs=4)


@pytest.mark.parametrize(
    ("library", "version", "kept"),
    [("glibc", "2.36", True), ("glibc", "2.41", True), ("glibc", "3.0", True), ("glibc", "2.31", False),
     ("glibc", "", False), ("musl", "2.40", False), ("", "", False)],
)  # fmt: skip
def test_a_heap_is_kept_where_the_c_library_takes_the_settings(library: str, version: str, kept: bool) -> None:
    assert ("trim_threshold" in heap_settings(library, version)) is kept
