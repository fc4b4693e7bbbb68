"""The files of a checkpoint stay small, are whole on the disk, and leave the page cache."""

from __future__ import annotations

import ctypes
import itertools
import mmap
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.digest import digest_file
from tasks.train import checkpoint_files
from tasks.train.checkpoint_files import read_tensors, settle, write_tensors


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 60), max_size=12), part=st.integers(1, 200))
def test_parts_hold_everything_once(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], part: int) -> None:
    folder = tmp_path_factory.mktemp("parts")
    counted = itertools.count()
    tensors = {f"layer-{at}": torch.full((size,), float(next(counted))) for at, size in enumerate(sizes)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint_files, "PART_BYTES", part)
        digests = write_tensors(folder, "adapter", tensors)
    assert {path.name: digest_file(path) for path in folder.iterdir()} == digests
    found = read_tensors(folder, "adapter")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    largest = max(
        (sum(t.nbytes for t in read_tensors(folder, name.split(".")[0]).values()) for name in digests), default=0
    )
    assert largest <= max(part, 4 * max(sizes, default=0))


def test_groups_do_not_take_each_others_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_files, "PART_BYTES", 4)
    write_tensors(tmp_path, "best", {"a": torch.ones(1), "b": torch.ones(1)})
    write_tensors(tmp_path, "best-adapter", {"c": torch.ones(1), "d": torch.ones(1)})
    assert sorted(path.name for path in tmp_path.glob("best-[12]*")) == [
        "best-1-of-2.safetensors",
        "best-2-of-2.safetensors",
    ]
    assert read_tensors(tmp_path, "best").keys() == {"a", "b"}
    assert write_tensors(tmp_path, "none", {}) == read_tensors(tmp_path, "none") == {}


def test_what_was_written_whole_by_an_earlier_release_is_read(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.ones(3)}, str(tmp_path / "adapter.safetensors"))
    assert read_tensors(tmp_path, "adapter")["a"].tolist() == [1, 1, 1]


def cached_pages(path: Path) -> int:
    """Pages of a file that lie in the page cache."""
    with path.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as mapped:
        size = len(mapped)
        seen = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
        view = (ctypes.c_ubyte * size).from_buffer(mapped)
        failed = ctypes.CDLL(None).mincore(ctypes.c_void_p(ctypes.addressof(view)), ctypes.c_size_t(size), seen)
        del view
    assert not failed
    return sum(one & 1 for one in seen)


def test_a_settled_file_gives_its_memory_back(tmp_path: Path) -> None:
    content = os.urandom(1 << 22)
    control, file = tmp_path / "control", tmp_path / "file"
    for path in (control, file):
        path.write_bytes(content)
    with control.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if cached_pages(control):
        pytest.skip("this file system lies in memory")
    assert cached_pages(file) == len(content) // mmap.PAGESIZE
    assert settle(file) == digest_file(control)
    assert cached_pages(file) == 0
