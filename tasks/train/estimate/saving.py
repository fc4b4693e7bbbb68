"""A dry run of the save path: what checkpoints and the result need is written, synced and read back before training.

A disk that is full or read-only, or an object store that refuses, is found in seconds instead of at the first
checkpoint hours later; and how fast it is becomes part of the estimate.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tasks.adapters.store import Store
from tasks.contracts import Digest
from tasks.errors import EnvironmentUnusable
from tasks.train.checkpoint_files import PART_BYTES, settle
from tasks.train.checkpoints import KEPT
from tasks.train.estimate.work import adapter_weights
from tasks.train.recipe import Recipe
from tasks.train.shape import Shape
from tasks.train.unfinished import STAGE

MOST_SECONDS = 15.0  # a dry run writes no longer: of what is larger the rest is only looked for as free space
_PIECE = 1 << 20
_FP32 = 4


class Saved(NamedTuple):
    """What a dry run found."""

    bytes_per_second: float
    checkpoint_bytes: int
    needed_bytes: int


def checkpoint_bytes(recipe: Recipe, shape: Shape, parameters: int, precision: int = _FP32) -> int:
    """Size of one checkpoint: what is learned, its moments, with early stopping the best so far, and small things."""
    learned = parameters if recipe.adapter == "full" else adapter_weights(shape, recipe)
    copies = 3 + (1 if recipe.early_stopping_evals else 0)
    return learned * precision * copies + 200_000


def try_saving(work: Path, store: Store, key: str, one: int) -> Saved:
    """Write and read back as much as a checkpoint in the work folder, as it is written, and a small file in the store.

    The whole size, as far as the time allows: what comes first may go to memory that the system or a disk has at hand.

    Args:
        one: bytes of one checkpoint.

    Raises:
        EnvironmentUnusable: it cannot be written or read back, or there is no room for the checkpoints that are kept.
    """
    needed = one * (KEPT + 1)  # the new one is complete before an old one goes
    free = shutil.disk_usage(work).free
    if free < needed:
        raise _unusable(
            "there is no room for the checkpoints of this training", str(work),
            f"{KEPT + 1} of {one / 1e6:.0f} MB need {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free",
        )  # fmt: skip
    size, seconds = _local(work / f".dry-run-{os.getpid()}", one)
    if not store.local:
        _remote(store, key, min(one, _PIECE))
    return Saved(size / max(seconds, 1e-4), one, needed)


def _local(folder: Path, most: int) -> tuple[int, float]:
    """Bytes that were written, synced and read back in parts, and the seconds it took."""
    piece, size, seconds = os.urandom(_PIECE), 0, 0.0
    shutil.rmtree(folder, ignore_errors=True)  # of a killed one: in a container all have the same process number
    try:
        folder.mkdir()
        while size < most and seconds < MOST_SECONDS:
            part = [piece[: most - start] for start in range(size, min(most, size + PART_BYTES), _PIECE)]
            expected, began = _digest(part), time.perf_counter()
            with (folder / str(size)).open("wb") as stream:
                stream.writelines(part)
            found = settle(folder / str(size))
            size, seconds = size + sum(map(len, part)), seconds + time.perf_counter() - began
            if found != expected:
                raise _unusable("what was written could not be read back", str(folder.parent), "the bytes differ")
    except OSError as error:
        raise _unusable(
            "a checkpoint could not be written", str(folder.parent), error.strerror or type(error).__name__
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return size, seconds


def _digest(pieces: Sequence[bytes]) -> Digest:
    sha = hashlib.sha256()
    for piece in pieces:
        sha.update(piece)
    return sha.hexdigest()


def _remote(store: Store, key: str, size: int) -> None:
    """The same in the object store. Its clients raise errors of every kind."""
    folder = f"{store.remote_work_path(STAGE, key)}/.dry-run"
    piece = os.urandom(size)
    try:
        store.fs.makedirs(folder, exist_ok=True)
        store.fs.pipe_file(f"{folder}/file", piece)
        same = store.fs.cat_file(f"{folder}/file") == piece
        store.fs.rm(folder, recursive=True)
    except Exception as error:
        raise _unusable("the store cannot be written", f"{store.base}", type(error).__name__) from error
    if not same:
        raise _unusable("what was written to the store could not be read back", store.base, "the bytes differ")


def _unusable(what: str, where: str, why: str) -> EnvironmentUnusable:
    return EnvironmentUnusable(
        what,
        where=where,
        why=why,
        remedy="free some space, set TUNELOOP_HOME (work folder) or TUNELOOP_STORE_URI (store) to a place that can be "
        "written, or save less with a smaller train.rank",
    )
