"""The checkpoints of a training: the newest are kept here and in the object store, damaged ones are passed over."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tasks.adapters.mirror import Mirror
from tasks.contracts import Digest
from tasks.train.checkpoint import DECISIONS, MARKER, Groups, discard, examine, name_of, write
from tasks.train.position import Position

KEPT = 2
ASIDE = "set-aside-"
TRAINING = "training.json"  # which training the checkpoints belong to, for people and for later commands
Say = Callable[[str], None]


class Found(NamedTuple):
    """A checkpoint that can be used."""

    folder: Path
    position: Position
    fetched: bool

    def decisions(self) -> str:
        """The decisions of the training, as its first start took them."""
        return (self.folder / DECISIONS).read_text(encoding="utf-8")


class Checkpoints:
    """All checkpoints of one training.

    Args:
        folder: where they lie on this machine.
        mirror: fsspec URI of the folder that holds them a second time; empty: nowhere.
        say: called with what people have to know.
    """

    def __init__(self, folder: Path, mirror: str, say: Say) -> None:
        self.folder, self.say = folder, say
        self._mirror = Mirror(mirror, MARKER) if mirror else None
        self._uploads = ThreadPoolExecutor(1, "checkpoint-upload") if mirror else None
        self._upload: Future[None] | None = None

    def save(self, position: Position, groups: Groups, decisions: str) -> Path:
        """Write a checkpoint; it goes to the object store in the background. Of the older ones the last is kept."""
        self._remove_leftovers()
        written = write(self.folder, position, groups, decisions)
        self.wait()
        for old in [path for path in self._local() if path.name <= written.name][:-KEPT]:
            discard(old)
        if self._uploads and self._mirror:
            self._upload = self._uploads.submit(_keep_in, self._mirror, written)
        return written

    def last_good(self, key: Digest) -> Found | None:
        """The newest complete, undamaged checkpoint, here or in the object store; each that is passed over is named."""
        self.fetch_beside()
        names = {path.name for path in self._local()}
        there = self._names_in_mirror()
        for name in sorted(names | there, reverse=True):
            for fetched, folder in self._copies(name, name in names, name in there):
                reason, position = examine(folder, key)
                if position is not None:
                    return Found(folder, position, fetched)
                where = " in the object store" if fetched else ""
                self.say(f"checkpoint {name}{where} was not used: {reason}")
        if names | there:
            self.say("no checkpoint could be used: the training begins again at its first step")
        return None

    def fetch_beside(self) -> None:
        """Files that lie beside the checkpoints, where another machine wrote them."""
        if self._mirror:
            with self._mirror_errors("the object store could not be read"):
                self._mirror.get_files(self.folder)

    def _copies(self, name: str, here: bool, there: bool) -> Iterator[tuple[bool, Path]]:
        """A checkpoint as it lies here, then as it lies in the object store."""
        if here:
            yield False, self.folder / name
        if there and self._mirror:
            with self._mirror_errors(f"checkpoint {name} could not be fetched from the object store"):
                fetched = self._mirror.get(name, self.folder / name)
                yield True, fetched

    def _names_in_mirror(self) -> set[str]:
        names: set[str] = set()
        if self._mirror:
            with self._mirror_errors("checkpoints in the object store could not be listed"):
                names.update(self._mirror.names())
        return names

    def forget_after(self, step: int) -> None:
        """Remove the checkpoints after a step, so that the training goes on from there."""
        self.wait()
        for path in self._local():
            if path.name > name_of(step):
                discard(path)
        for name in self._names_in_mirror():
            if self._mirror and name > name_of(step):
                self._mirror.remove(name)

    def set_aside(self) -> list[str]:
        """Give all of them names under which none is looked for; those names. The second copies are removed."""
        self.wait()
        for path in self._local():
            target = path.with_name(f"{ASIDE}{path.name}")
            shutil.rmtree(target, ignore_errors=True)
            with contextlib.suppress(FileNotFoundError):  # another machine that sees this folder was faster
                path.replace(target)
        for name in self._names_in_mirror():
            with self._mirror_errors(f"checkpoint {name} could not be removed from the object store"):
                if self._mirror:
                    self._mirror.remove(name)
        return [path.name for path in sorted(self.folder.glob(f"{ASIDE}*"))]

    def wait(self) -> None:
        """Wait for the upload under way; one that failed is said, and the training goes on."""
        upload, self._upload = self._upload, None
        if upload:
            with self._mirror_errors("the last checkpoint could not be kept in the object store; it lies here"):
                upload.result()

    def remove_here(self) -> None:
        """Remove those on this machine, once the result lies beside them."""
        self.wait()
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder)

    def remove_all(self) -> None:
        """Remove all of them, once the result lies in the store. Until then another machine can go on with them."""
        self.remove_here()
        if self._mirror:
            with self._mirror_errors("checkpoints in the object store could not be removed"):
                self._mirror.remove_all()

    @contextlib.contextmanager
    def _mirror_errors(self, what: str) -> Iterator[None]:
        """An object store that fails costs the second copy, not the training; clients raise errors of every kind."""
        try:
            yield
        except Exception as error:
            self.say(f"{what} ({type(error).__name__})")

    def _local(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))

    def _remove_leftovers(self) -> None:
        """What killed attempts left under temporary names. Only one process of a training is ever here."""
        for path in self.folder.glob(".*step-*"):
            shutil.rmtree(path, ignore_errors=True)


def _keep_in(mirror: Mirror, folder: Path) -> None:
    mirror.put_files(folder.parent)
    mirror.put(folder)
    for old in [name for name in mirror.names() if name <= folder.name][:-KEPT]:
        mirror.remove(old)
