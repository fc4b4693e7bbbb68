"""Folders on a local disk: moved to their place as a whole, and what is said when the disk is full."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tasks.errors import EnvironmentUnusable


def move_into_place(work: Path, target: Path) -> None:
    """Rename the work folder to its final name; what a killed attempt left there has no marker and goes."""
    for path in work.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    try:
        work.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copytree(work, target)
        shutil.rmtree(work)


@contextlib.contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Say of a full disk below `root` what to do. Every other error passes.

    Raises:
        EnvironmentUnusable: the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise EnvironmentUnusable(
            "the disk is full",
            where=str(error.filename or root),
            why=f"{shutil.disk_usage(root).free / 1e6:.0f} MB are free",
            remedy="free some space or set TUNELOOP_HOME to another disk, then repeat the command: "
            "finished stages are kept",
        ) from error
