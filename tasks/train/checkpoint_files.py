"""The files of a checkpoint: tensors in parts, each of which the disk holds before the next one is written.

A file of gigabytes goes to the page cache first. On a virtual machine whose host takes back what the guest frees, that
memory has to be provided anew for every checkpoint, which took ten times as long as the disk. The memory of one part
serves for all of them, once its pages are given up; nothing of what a training reads again is pushed out either.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.contracts import Digest
from tasks.digest import digest_file

if TYPE_CHECKING:
    from torch import Tensor

PART_BYTES = 128 << 20  # a tensor that is larger is a part by itself
SUFFIX = ".safetensors"


def write_tensors(folder: Path, group: str, tensors: Mapping[str, Tensor]) -> dict[str, Digest]:
    """Write a group of tensors as `GROUP.safetensors`, or as `GROUP-1-of-N.safetensors` and so on.

    Returns:
        The digests of the files by name; none for a group without tensors.
    """
    from safetensors.torch import save_file

    digests: dict[str, Digest] = {}
    parts = list(_parts({name: tensor.nbytes for name, tensor in tensors.items()}))
    for number, names in enumerate(parts, start=1):
        part = f"-{number}-of-{len(parts)}" if len(parts) > 1 else ""
        path = folder / f"{group}{part}{SUFFIX}"
        save_file({name: _own(tensors[name]) for name in names}, str(path))
        digests[path.name] = settle(path)
    return digests


def read_tensors(folder: Path, group: str) -> dict[str, Tensor]:
    """Tensors of one group; none where the checkpoint has no such group."""
    from safetensors.torch import load_file

    whole = folder / f"{group}{SUFFIX}"
    paths = [whole] if whole.is_file() else folder.glob(f"{group}-[0-9]*-of-*{SUFFIX}")
    return {name: tensor for path in paths for name, tensor in load_file(str(path)).items()}


def settle(path: Path) -> Digest:
    """Have the disk hold a file; its digest. The memory that it took in the page cache is given up."""
    sync(path)
    digest = digest_file(path)
    with _opened(path) as descriptor, contextlib.suppress(OSError):  # it is no more than advice
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    return digest


def sync(path: Path) -> None:
    """Have the disk hold what was written: of a file its bytes, of a folder its names."""
    with _opened(path) as descriptor:
        os.fsync(descriptor)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _parts(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Names in their order, as many together as fit."""
    part: list[str] = []
    held = 0
    for name, size in sizes.items():
        if part and held + size > PART_BYTES:
            yield part
            part, held = [], 0
        part.append(name)
        held += size
    if part:
        yield part


def _own(tensor: Tensor) -> Tensor:
    """The tensor with memory of its own: the format has no views."""
    tensor = tensor.detach().contiguous()
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()
