"""Files, folders and globs of this machine, hostile until proven otherwise."""

from __future__ import annotations

import glob
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tasks.adapters.sources.connector import Fingerprint, Item, Known, Listing
from tasks.adapters.sources.spec import SourceSpec
from tasks.digest import digest_file
from tasks.errors import EnvironmentUnusable, UsageError

_ATTEMPTS = 3
_TICK_SECONDS = 0.02
_COARSE_TICK_SECONDS = 2.0


class LocalFiles:
    """What a path names. `base` is the folder of the configuration file, `suffixes` the endings that can be read."""

    def __init__(self, spec: SourceSpec, base: Path, suffixes: Sequence[str]) -> None:
        self._spec, self._base, self._suffixes = spec, base, tuple(suffixes)

    def listing(self) -> Listing:
        passed_over: list[str] = []
        items = tuple(self._items(passed_over))
        return Listing(items, tuple(passed_over))

    def fingerprint(self, item: Item, known: Known | None) -> Fingerprint:  # noqa: ARG002 - a token says it already
        """Digest of the file as it stood still: the same version before and after it was read."""
        path = Path(item.address)
        try:
            for _ in range(_ATTEMPTS):
                _let_the_clock_move_on(path)
                before = version_of(path)
                if path.resolve() != path:
                    break  # a link took the place of what was listed
                digest = digest_file(path)
                if version_of(path) == before:
                    return Fingerprint(before, digest, path.stat().st_size)
        except OSError as error:
            raise _unreadable(item.uri, error) from error
        raise EnvironmentUnusable(
            "the source changed while it was read", where=item.uri, remedy="run again when nothing writes to it"
        )

    def copy(self, address: str, target: Path) -> None:
        shutil.copyfile(address, target)

    def _items(self, passed_over: list[str]) -> Iterator[Item]:
        path = self._base / Path(self._spec.path).expanduser()
        if path.is_file():
            yield self._explicit(path)
        elif path.is_dir():
            yield from self._inside(path, sorted(path.rglob("*")), passed_over)
        elif glob.has_magic(self._spec.path):
            root = _fixed_part(path)
            yield from self._inside(root, sorted(root.glob(path.relative_to(root).as_posix())), passed_over)
        else:
            raise UsageError(
                "the source does not exist" if not path.exists() else "the source is neither a file nor a folder",
                where=self._spec.path,
                why=f"looked for {path}",
                remedy="correct data.sources[].path; relative paths start at the configuration file",
            )

    def _explicit(self, path: Path) -> Item:
        if not path.name.lower().endswith(self._suffixes):
            raise UsageError(
                f"files of the kind '{path.suffix or path.name}' cannot be read",
                where=self._spec.path,
                remedy=f"convert it to one of {', '.join(self._suffixes)}",
            )
        return self._item(path, explicit=True)

    def _inside(self, root: Path, paths: Iterable[Path], passed_over: list[str]) -> Iterator[Item]:
        home = root.resolve()
        for path in paths:
            if path.is_dir():
                continue
            reason = self._reason_to_ignore(path, home, root)
            if reason:
                passed_over.append(f"{_shown(path, self._base)}: {reason}")
            else:
                yield self._item(path, explicit=False)

    def _reason_to_ignore(self, path: Path, home: Path, root: Path) -> str:
        if not path.resolve().is_relative_to(home):
            return "a link that leads out of the folder"
        if any(part.startswith(".") for part in path.relative_to(root).parts):
            return "hidden"
        if not path.is_file():
            return "not a regular file"
        return "" if path.name.lower().endswith(self._suffixes) else "unknown extension"

    def _item(self, path: Path, explicit: bool) -> Item:
        real = path.resolve()
        return Item(
            uri=_shown(path, self._base), address=str(real), name=path.name, token=version_of(real), explicit=explicit
        )


def version_of(path: Path) -> str:
    """What differs when a file does: size, both clocks (a copied mtime does not hide a change), device and inode."""
    found = path.stat()
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}-{found.st_dev}-{found.st_ino}"


def _let_the_clock_move_on(path: Path) -> None:
    """Wait until a later write would get a later time: within one tick of the file system's clock it would not."""
    written = path.stat().st_ctime_ns
    tick = _TICK_SECONDS if written % 1_000_000_000 else _COARSE_TICK_SECONDS
    age = time.time() - written / 1e9
    if 0 <= age < tick:
        time.sleep(tick - age)


def _unreadable(uri: str, error: OSError) -> UsageError:
    return UsageError(
        "the source cannot be read",
        where=uri,
        why=os.strerror(error.errno) if error.errno else type(error).__name__,
        remedy="correct the path or its permissions",
    )


def _fixed_part(pattern: Path) -> Path:
    """The folder above the first part of a pattern that holds a wildcard."""
    root = Path(pattern.anchor)
    for part in pattern.parts[len(root.parts) : -1]:
        if glob.has_magic(part):
            break
        root /= part
    return root


def _shown(path: Path, base: Path) -> str:
    try:
        return path.relative_to(base).as_posix()
    except ValueError:
        return path.as_posix()
