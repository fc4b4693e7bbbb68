"""Checkpoints in an object store that nobody goes on with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.adapters.leftovers import leftovers, remove
from tasks.adapters.store import Store

NOW = datetime.now(UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store("memory://leftovers", tmp_path)
    yield made
    made.fs.rm("/leftovers", recursive=True)


def checkpoint(store: Store, key: str, *ages: int) -> None:
    for number, days in enumerate(ages):
        path = f"{store.remote_work_path('train', key)}/step-{number}/adapter.safetensors"
        store.fs.pipe_file(path, b"weights")
        store.fs.store[path].modified = NOW - timedelta(days=days)


def test_only_trainings_that_nobody_touched_go(store: Store) -> None:
    checkpoint(store, "old", 30, 20)
    checkpoint(store, "going-on", 30, 1)
    found = leftovers(store, NOW - timedelta(days=7))
    assert [(one.training, one.bytes, one.path) for one in found] == [
        ("old", 14, store.remote_work_uri("train", "old")),
    ]
    remove(store, found)
    assert store.remote_work("train") == ["going-on"]
    assert leftovers(store, NOW - timedelta(days=7)) == []
