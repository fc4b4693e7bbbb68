"""The dry run of the save path finds what would fail hours later."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pytest

from tasks.adapters.store import Store
from tasks.errors import EnvironmentUnusable
from tasks.train.checkpoint_files import settle
from tasks.train.estimate import saving
from tasks.train.estimate.saving import checkpoint_bytes, try_saving
from tasks.train.estimate.work import adapter_weights
from tasks.train.recipe import Recipe
from tests.tasks.train.estimate.test_memory import QWEN_7B, WEIGHTS


def test_a_checkpoint_holds_what_is_learned_and_its_moments() -> None:
    lora = Recipe(adapter="lora")
    assert checkpoint_bytes(lora, QWEN_7B, WEIGHTS["7b"]) == adapter_weights(QWEN_7B, lora) * 12 + 200_000
    assert checkpoint_bytes(Recipe(adapter="full"), QWEN_7B, 1000) == 12_000 + 200_000
    stopping = Recipe(adapter="full", early_stopping_evals=2, validation_share=0.1)
    assert checkpoint_bytes(stopping, QWEN_7B, 1000) == 16_000 + 200_000


def test_it_writes_reads_and_leaves_nothing(tmp_path: Path) -> None:
    found = try_saving(tmp_path, Store(str(tmp_path / "store"), tmp_path), "k", 3_000_001)
    assert found.bytes_per_second > 0
    assert found.needed_bytes == 3 * 3_000_001
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("seconds", "written"), [(60.0, [1 << 20, 1 << 20, 902_849]), (1e-9, [1 << 20])])
def test_the_whole_size_is_written_while_there_is_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, written: list[int]
) -> None:
    sizes: list[int] = []

    def weighed(path: Path) -> str:
        sizes.append(path.stat().st_size)
        return settle(path)

    monkeypatch.setattr(saving, "settle", weighed)
    monkeypatch.setattr(saving, "PART_BYTES", 1 << 20)
    monkeypatch.setattr(saving, "MOST_SECONDS", seconds)
    found = try_saving(tmp_path, Store(str(tmp_path / "store"), tmp_path), "k", 3_000_001)
    assert sizes == written
    assert found.checkpoint_bytes == 3_000_001
    assert list(tmp_path.iterdir()) == []


def test_what_comes_back_changed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def torn(path: Path) -> str:
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        return settle(path)

    monkeypatch.setattr(saving, "settle", torn)
    with pytest.raises(EnvironmentUnusable, match="could not be read back"):
        try_saving(tmp_path, Store(str(tmp_path), tmp_path), "k", 1 << 21)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_one_left_is_no_hindrance(tmp_path: Path) -> None:
    left = tmp_path / f".dry-run-{os.getpid()}"
    left.mkdir()
    (left / "0").write_bytes(b"left")
    assert try_saving(tmp_path, Store(str(tmp_path / "store"), tmp_path), "k", 1000).bytes_per_second > 0
    assert list(tmp_path.iterdir()) == []


def test_no_room_is_named_with_the_figures(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnusable) as caught:
        try_saving(tmp_path, Store(str(tmp_path), tmp_path), "k", 10**15)
    assert caught.value.exit_code == 50
    assert "MB are free" in caught.value.why
    assert "TUNELOOP_HOME" in caught.value.remedy


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    gone = folder / "gone"
    gone.symlink_to("/proc")  # nobody can make a file there
    with pytest.raises(EnvironmentUnusable, match="could not be written"):
        try_saving(gone, Store(str(tmp_path), tmp_path), "k", 0)


def test_the_store_is_tried_as_well(tmp_path: Path) -> None:
    memory = Store("memory://bucket", tmp_path)
    try_saving(tmp_path, memory, "k", 1000)
    assert not [path for path in fsspec.filesystem("memory").find("/bucket") if "dry-run" in path]


def test_a_store_that_refuses_is_named(tmp_path: Path) -> None:
    class Closed:
        def makedirs(self, *_: object, **__: object) -> None:
            raise PermissionError("secret text")

    store = Store("memory://bucket", tmp_path)
    store.fs = Closed()
    with pytest.raises(EnvironmentUnusable) as caught:
        try_saving(tmp_path, store, "k", 1000)
    assert "secret text" not in str(caught.value)
    assert caught.value.why == "PermissionError"
