"""Rare collections while libraries are loaded, the usual ones afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tasks.adapters.cycles import collect_as_usual, collect_rarely


@pytest.fixture(autouse=True)
def settings_put_back() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def collections_of(containers: int) -> int:
    before = gc.get_stats()[0]["collections"]
    kept = [[] for _ in range(containers)]
    assert len(kept) == containers
    return int(gc.get_stats()[0]["collections"] - before)


def test_loading_is_not_interrupted_by_collections() -> None:
    gc.set_threshold(700)
    assert collections_of(40_000) > 40
    collect_rarely()
    assert collections_of(40_000) <= 1


def test_afterwards_only_what_is_new_is_looked_at() -> None:
    collect_rarely()
    there = gc.get_freeze_count()
    loaded = [[] for _ in range(10_000)]
    collect_as_usual()
    assert gc.get_freeze_count() >= there + len(loaded)
    assert collections_of(40_000) > 40


def test_a_process_that_was_not_told_is_left_alone() -> None:
    gc.set_threshold(12_345)
    there = gc.get_freeze_count()
    collect_as_usual()
    assert (gc.get_threshold()[0], gc.get_freeze_count()) == (12_345, there)
