"""Which files are read: sources are files, folders or globs, and hostile until proven otherwise."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import UsageError
from tasks.ingest.config import SourceConfig

FORMATS = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "csv",
    ".txt": "txt", ".md": "markdown", ".markdown": "markdown",
}  # fmt: skip


@dataclass(frozen=True)
class SourceFile:
    """One file to read. `shown` is what people and rows are told, relative where possible."""

    path: Path
    shown: str
    config: SourceConfig
    explicit: bool

    @property
    def format(self) -> str:
        return FORMATS[self.path.suffix.lower()]


@dataclass(frozen=True)
class Found:
    """Files in reading order, and what was passed over in folders, with the reason."""

    files: tuple[SourceFile, ...]
    ignored: tuple[str, ...]


def find_files(sources: Iterable[SourceConfig], base: Path) -> Found:
    """Every file once, in the order of the sources; a file named itself wins over a folder that holds it.

    Raises:
        UsageError: a path that does not exist, an unknown extension, contradicting settings for one file.
    """
    chosen: dict[Path, SourceFile] = {}
    ignored: list[str] = []
    for source in sources:
        files = list(_files_of(source, base, ignored))
        if not files:
            raise UsageError(
                "the source holds no file that can be read",
                where=source.path,
                why="; ".join(ignored[-5:]) or "nothing is there",
                remedy=f"give files that end in {', '.join(FORMATS)}",
            )
        for file in files:
            chosen[file.path] = _choose(chosen.get(file.path), file)
    return Found(tuple(chosen.values()), tuple(ignored))


def _choose(old: SourceFile | None, new: SourceFile) -> SourceFile:
    if old is None or (new.explicit and not old.explicit):
        return new
    if old.explicit and not new.explicit:
        return old
    if _settings(old) != _settings(new):
        raise UsageError(
            "one file is named by two sources with different settings",
            where=old.shown,
            why="shape, columns or split differ",
            remedy="leave one of the two sources out",
        )
    return old


def _settings(file: SourceFile) -> tuple[object, ...]:
    return file.config.shape, file.config.columns, file.config.split


def same_settings(one: SourceFile, other: SourceFile) -> bool:
    return _settings(one) == _settings(other)


def _files_of(source: SourceConfig, base: Path, ignored: list[str]) -> Iterator[SourceFile]:
    path = base / Path(source.path).expanduser()
    if path.is_file():
        if path.suffix.lower() not in FORMATS:
            raise UsageError(
                f"files of the kind '{path.suffix or path.name}' cannot be read",
                where=source.path,
                remedy=f"convert it to one of {', '.join(FORMATS)}",
            )
        yield SourceFile(path.resolve(), _shown(path, base), source, explicit=True)
    elif path.is_dir():
        yield from _inside(path, sorted(path.rglob("*")), source, base, ignored)
    elif glob.has_magic(source.path):
        root = _fixed_part(path)
        yield from _inside(root, sorted(root.glob(path.relative_to(root).as_posix())), source, base, ignored)
    else:
        raise UsageError(
            "the source does not exist" if not path.exists() else "the source is neither a file nor a folder",
            where=source.path,
            why=f"looked for {path}",
            remedy="correct data.sources[].path; relative paths start at the configuration file",
        )


def _fixed_part(pattern: Path) -> Path:
    """The folder above the first part of a pattern that holds a wildcard."""
    root = Path(pattern.anchor)
    for part in pattern.parts[len(root.parts) : -1]:
        if glob.has_magic(part):
            break
        root /= part
    return root


def _inside(
    root: Path, paths: Iterable[Path], source: SourceConfig, base: Path, ignored: list[str]
) -> Iterator[SourceFile]:
    home = root.resolve()
    for path in paths:
        if path.is_dir():
            continue
        reason = _reason_to_ignore(path, home, root)
        if reason:
            ignored.append(f"{_shown(path, base)}: {reason}")
        else:
            yield SourceFile(path.resolve(), _shown(path, base), source, explicit=False)


def _reason_to_ignore(path: Path, home: Path, root: Path) -> str:
    if not path.resolve().is_relative_to(home):
        return "a link that leads out of the folder"
    if any(part.startswith(".") for part in path.relative_to(root).parts):
        return "hidden"
    if not path.is_file():
        return "not a regular file"
    return "" if path.suffix.lower() in FORMATS else "unknown extension"


def _shown(path: Path, base: Path) -> str:
    try:
        return path.relative_to(base).as_posix()
    except ValueError:
        return path.as_posix()
