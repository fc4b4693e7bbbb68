"""One checkpoint: a folder with everything that is needed to go on as if nothing had happened.

Its tensors (adapter, optimiser, random state, best adapter so far) are safetensors, its position and the decisions are
JSON; nothing here is ever unpickled. It is written under a temporary name, synced, renamed, and only then marked
complete with the digests of its files. Files stay small (`tasks/train/checkpoint_files.py` says why).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.adapters.store import write_atomically
from tasks.contracts import Digest
from tasks.digest import canonical_json, digest_file
from tasks.errors import EnvironmentUnusable
from tasks.train.checkpoint_files import settle, sync, write_tensors
from tasks.train.position import Position

if TYPE_CHECKING:
    from torch import Tensor

MARKER, STATE, DECISIONS = "_COMPLETE.json", "state.json", "decisions.json"
_FULL = (errno.ENOSPC, errno.EDQUOT)
Groups = Mapping[str, Mapping[str, "Tensor"]]


def name_of(step: int) -> str:
    """Name of the checkpoint of a step; names sort as the steps do."""
    return f"step-{step:08d}"


def write(folder: Path, position: Position, groups: Groups, decisions: str) -> Path:
    """Write the checkpoint of a position below `folder`.

    Raises:
        EnvironmentUnusable: the disk is full; checkpoints that are there already stay as they are.
    """
    final = folder / name_of(position.step)
    temporary = folder / f".{final.name}.{os.getpid()}"
    try:
        with full_disk_named(folder):
            digests = _fill(temporary, position, groups, decisions)
            discard(final)
            temporary.replace(final)
            write_atomically(final / MARKER, canonical_json(digests))
            sync(final)
            sync(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return final


def _fill(folder: Path, position: Position, groups: Groups, decisions: str) -> dict[str, Digest]:
    """Write the files; their digests by name."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    digests: dict[str, Digest] = {}
    for group, tensors in groups.items():
        digests |= write_tensors(folder, group, tensors)
    for name, text in ((STATE, position.model_dump_json()), (DECISIONS, decisions)):
        (folder / name).write_text(text, encoding="utf-8")
        digests[name] = settle(folder / name)
    sync(folder)
    return digests


def discard(folder: Path) -> None:
    """Remove a checkpoint in one step: its name goes first, so that no half of it can be taken for a whole."""
    gone = folder.with_name(f".gone-{folder.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        folder.replace(gone)
        shutil.rmtree(gone, ignore_errors=True)


def examine(folder: Path, key: Digest) -> tuple[str, Position | None]:
    """The position of a checkpoint of this training, or why it cannot be used."""
    try:
        text = (folder / MARKER).read_text(encoding="utf-8")
        digests = json.loads(text)
        damaged = [name for name, digest in digests.items() if digest_file(folder / name) != digest]
        position = Position.model_validate_json((folder / STATE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        return f"it is incomplete: {Path(error.filename).name} is missing", None
    except (OSError, ValueError, AttributeError) as error:
        return f"damaged: it cannot be read ({type(error).__name__})", None
    if damaged or text != canonical_json(digests):
        return f"damaged: {', '.join(damaged) or MARKER}", None
    if position.key != key:
        return "it belongs to another training (data, base model or configuration differ)", None
    return "", position


@contextlib.contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """Turn a full disk into the coded error, whichever library met it."""
    try:
        yield
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in _FULL
        if not full and not any(f"os error {number}" in str(error) for number in _FULL):
            raise
        raise EnvironmentUnusable(
            "the disk is full",
            where=str(folder),
            why=f"a checkpoint could not be written; {shutil.disk_usage(folder).free / 1e6:.0f} MB are free",
            remedy="free some space or set TUNELOOP_HOME to another disk; the same command goes on from the checkpoint "
            "before",
            code="TL-TRAIN-DISK",
        ) from error
