"""The environment of processes that compute: ours where the user has set nothing, and what follows from it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from tasks.adapters.threads import KEPT_PRODUCTS, kept_products, physical_cores, thread_environment


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
block = bytearray(os.urandom(1 << 16) * 1024)  # 64 MiB
full, block = psutil.Process().memory_info().rss, None
print((full - psutil.Process().memory_info().rss) >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the heap is that of another C library")
def test_a_worker_keeps_the_memory_that_its_next_step_needs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    bare = dict(os.environ)
    given_back = [
        int(subprocess.run([sys.executable, "-c", HELD], env=env, check=True, capture_output=True, text=True).stdout)
        for env in (bare, bare | thread_environment())
    ]
    assert given_back[0] >= 60
    assert given_back[1] <= 4
