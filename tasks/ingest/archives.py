"""Unpacking of gzip, bzip2, xz, zip and tar files, one inside the other, as streams and without trust.

A member is never written under its own name: it goes to a numbered file in the work folder. Links, devices and names
that lead out are refused. What grows out of proportion is stopped while it is unpacked, not after. What comes before a
damage is kept.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tasks.errors import DataRefused, EnvironmentUnusable
from tasks.ingest.archive_streams import (
    DAMAGE,
    Budget,
    Counted,
    Limited,
    Member,
    Stopped,
    UnpackLimits,
    decompressed,
    inner_name,
    is_cut,
    problem_of,
    some,
)
from tasks.ingest.archive_tar import tar_members
from tasks.ingest.archive_zip import zip_members
from tasks.ingest.formats import HEAD_BYTES, PACKED, format_of
from tasks.ingest.records import Problem
from tasks.ingest.text import printable

__all__ = ["UnpackLimits", "Unpacked", "unpack"]

_LIMITS = UnpackLimits()
_BLOCK = 1 << 18
_LONGEST_NAME = 1000
_UNSAFE: Problem = ("unsafe_path", "has a name that leads out of the archive")
_Path = tuple[str, ...]


@dataclass(frozen=True)
class Unpacked:
    """One finding in an archive: a member to read, one that is passed over, or something that cannot be read.

    Attributes:
        member: its path inside the archive, outermost first, parted by `!/`; empty for the archive as a whole.
        path: the numbered file in the work folder that holds it; the caller removes it.
        format: its format, where it has a path.
        problem: reason code and plain words of what cannot be read; such a finding has no path. The part of a member
            that comes before a cut is a finding of its own, with a path.
        repair: what would make it readable, in words.
        passed_over: why the member is of no concern.
        number: of the finding, from 0 on in the order of the archive.
    """

    member: str
    path: Path | None = None
    format: str = ""
    problem: Problem | None = None
    repair: str = ""
    passed_over: str = ""
    number: int = 0


def unpack(path: Path, name: str, work: Path, limits: UnpackLimits = _LIMITS) -> Iterator[Unpacked]:
    """What an archive holds, in its order. Nothing in its content is an error; what cannot be read is a finding.

    Args:
        name: how the file is called; says what it is packed with.
        work: an existing folder for the members.

    Raises:
        EnvironmentUnusable: the work folder cannot be written, e.g. because the disk is full.
    """
    walk = _Walk(work, Budget(limits, path.stat().st_size))
    with path.open("rb") as stream:
        for number, found in enumerate(walk.outermost(stream, name, path)):
            yield dataclasses.replace(found, number=number)


class _Walk:
    """The folder, what may still be used up, and the number of the next file."""

    def __init__(self, work: Path, budget: Budget) -> None:
        self._work, self._budget, self._next = work, budget, 0

    def outermost(self, stream: BinaryIO, name: str, path: Path) -> Iterator[Unpacked]:
        try:
            yield from self._file(stream, name, (), path)
        except Stopped as error:
            yield Unpacked("", problem=error.problem, repair=error.repair)

    def _file(self, stream: BinaryIO, name: str, inside: _Path, path: Path | None = None) -> Iterator[Unpacked]:
        """Findings of one file: itself where it is a document, else what is in it."""
        member = "!/".join(inside)
        if format_of(name, b"") is None:
            yield Unpacked(member, passed_over="unknown extension")
            return
        try:
            head = _head(stream)
            format = format_of(name, head) or ""
        except DataRefused as error:
            yield Unpacked(member, problem=("wrong_format", error.what), repair=error.remedy)
            return
        except DAMAGE as error:
            yield Unpacked(member, problem=problem_of(error))
            return
        whole = io.BufferedReader(_Rejoined(head, stream), _BLOCK)
        if format not in PACKED:
            yield from self._document(whole, member, format)
        elif len(inside) >= self._budget.limits.max_depth:
            words = f"lies in {self._budget.limits.max_depth} archives, one inside the other"
            yield Unpacked(member, problem=("too_deep", words), repair="unpack the inner archives")
        else:
            yield from self._packed(whole, format, name, inside, path)

    def _packed(self, stream: BinaryIO, format: str, name: str, inside: _Path, path: Path | None) -> Iterator[Unpacked]:
        try:
            if format == "zip":
                yield from self._zip(stream, inside, path)
            elif format == "tar":
                for member in tar_members(stream, self._budget):
                    yield from self._member(member, inside)
            else:
                yield from self._compressed(stream, format, name, inside)
        except DAMAGE as error:
            yield Unpacked("!/".join(inside), problem=problem_of(error), repair="pack or fetch the archive again")

    def _compressed(self, stream: BinaryIO, format: str, name: str, inside: _Path) -> Iterator[Unpacked]:
        inner = inner_name(name, stream)
        packed = Counted(stream)
        opened = Limited(decompressed(packed, format), self._budget, lambda: packed.count)
        yield from self._file(io.BufferedReader(opened, _BLOCK), inner, (*inside, _shown(inner)))

    def _zip(self, stream: BinaryIO, inside: _Path, path: Path | None) -> Iterator[Unpacked]:
        copied = path or self._target("zip")
        try:
            if path is None:
                self._copy_sound(stream, copied)
            for member in zip_members(copied, self._budget):
                yield from self._member(member, inside)
        finally:
            if path is None:
                copied.unlink(missing_ok=True)

    def _member(self, member: Member, inside: _Path) -> Iterator[Unpacked]:
        self._budget.member()
        label = (*inside, _shown(member.name))
        parts = PurePosixPath(member.name.replace("\\", "/")).parts
        if _is_unsafe(member.name, parts):
            yield Unpacked("!/".join(label), problem=_UNSAFE, repair="pack it under a name inside the archive")
        elif any(part.startswith(".") or part == "__MACOSX" for part in parts):
            yield Unpacked("!/".join(label), passed_over="hidden")
        elif member.stream is None:
            yield Unpacked("!/".join(label), problem=member.problem, repair="unpack it yourself and give the files")
        else:
            yield from self._file(member.stream, member.name, label)

    def _document(self, stream: BinaryIO, member: str, format: str) -> Iterator[Unpacked]:
        target = self._target(format)
        try:
            self._copy(stream, target)
        except Stopped:
            target.unlink()
            raise
        except DAMAGE as error:
            if is_cut(error) and target.stat().st_size:
                yield Unpacked(member, target, format)
            else:
                target.unlink()
            yield Unpacked(member, problem=problem_of(error), repair="pack or fetch the archive again")
            return
        yield Unpacked(member, target, format)

    def _target(self, format: str) -> Path:
        self._next += 1
        return self._work / f"{self._next:06d}.{format}"

    def _copy_sound(self, stream: BinaryIO, target: Path) -> None:
        """Copy what comes before a cut; that its end is missing is found when it is read."""
        try:
            self._copy(stream, target)
        except DAMAGE as error:
            if not is_cut(error):
                raise

    def _copy(self, stream: BinaryIO, target: Path) -> None:
        with _opened(target) as out:
            while block := some(stream, _BLOCK):
                _write(out, block)


class _Rejoined(io.RawIOBase):
    """A stream with the bytes before it that were read already."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self._head, self._stream = head, stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._head[: len(buffer)] or some(self._stream, len(buffer))
        self._head = self._head[len(data) :]
        buffer[: len(data)] = data
        return len(data)


def _head(stream: BinaryIO) -> bytes:
    """The first bytes; fewer where the stream ends or breaks after them."""
    head = b""
    try:
        while len(head) < HEAD_BYTES and (more := some(stream, HEAD_BYTES - len(head))):
            head += more
    except DAMAGE as error:
        if not (head and is_cut(error)):
            raise
    return head


def _shown(name: str) -> str:
    """A member's name for people and row addresses, without signs that could change what a terminal shows."""
    text = "".join(c if c.isprintable() else "\ufffd" for c in printable(name))
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}…"


def _is_unsafe(name: str, parts: tuple[str, ...]) -> bool:
    return not parts or ".." in parts or parts[0].startswith("/") or parts[0][1:2] == ":" or "\0" in name


def _opened(target: Path) -> BinaryIO:
    try:
        return target.open("xb")
    except OSError as error:
        raise _unusable(target, error) from error


def _write(out: BinaryIO, block: bytes) -> None:
    try:
        out.write(block)
    except OSError as error:
        raise _unusable(Path(out.name), error) from error


def _unusable(target: Path, error: OSError) -> EnvironmentUnusable:
    return EnvironmentUnusable(
        "an archive cannot be unpacked",
        where=str(target.parent),
        why=error.strerror or str(error),
        remedy="free disk space, or set TUNELOOP_HOME to a larger disk",
    )
