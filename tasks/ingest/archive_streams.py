"""Bounded streams: what is unpacked is counted while it is read, and stopped where it grows out of proportion."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import BinaryIO, NamedTuple, cast

from pydantic import Field

from tasks.contracts import Record
from tasks.ingest.formats import extension_of, format_of
from tasks.ingest.records import Problem

_MB = 1 << 20
_SHORT = {".tgz": ".tar", ".tbz": ".tar", ".tbz2": ".tar", ".txz": ".tar"}
_NAME_FLAG, _EXTRA_FLAG = 8, 4


class UnpackLimits(Record):
    """How far an archive may grow. What a bomb costs on the disk follows from `free_bytes`: at most 4 times that."""

    max_total_bytes: int = Field(64 << 30, ge=1, description="Unpacked bytes of one archive, all levels together.")
    max_member_bytes: int = Field(16 << 30, ge=1, description="Unpacked bytes of one member.")
    max_ratio: int = Field(200, ge=1, description="Unpacked bytes for one packed byte, beyond the free bytes.")
    free_bytes: int = Field(64 * _MB, ge=0, description="Unpacked bytes of a member before the ratio counts.")
    max_members: int = Field(100_000, ge=1, description="Members of one archive, all levels together.")
    max_depth: int = Field(4, ge=1, description="Archives inside archives; a .tar.gz counts as two.")
    max_header_bytes: int = Field(16 * _MB, ge=1, description="Names and tables of an archive that are held in memory.")


class Member(NamedTuple):
    """A member of an archive; its stream is read before the next member is asked for."""

    name: str
    stream: BinaryIO | None
    problem: Problem | None = None


class Stopped(Exception):
    """The whole archive is given up. Never leaves this stage."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(code, words)
        self.problem: Problem = (code, words)
        self.repair = "unpack it yourself and give the files, if they are what they should be"


class Damaged(Exception):
    """One member or one level cannot be read. Never leaves this stage."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(code, words)
        self.problem: Problem = (code, words)


class Cut(Damaged):
    """The archive ends too early; what was read before is sound."""

    def __init__(self) -> None:
        super().__init__("damaged", "is cut off; what comes before is kept")


# What the standard library raises about damaged archives. A full disk is told apart where files are written.
DAMAGE = (
    Damaged, tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError, KeyError,
    IndexError, OverflowError, struct.error, RuntimeError, MemoryError,
)  # fmt: skip


def is_cut(error: Exception) -> bool:
    """Whether what was read before the error is sound."""
    return isinstance(error, EOFError | Cut) or "Not a gzipped file" in str(error)


def problem_of(error: Exception) -> Problem:
    """Reason code and words for a damage; never what the archive says about itself."""
    if isinstance(error, Damaged):
        return error.problem
    if isinstance(error, NotImplementedError):
        return "unsupported", "is packed by a method that is not supported"
    if "encrypted" in str(error) or "password" in str(error):
        return "encrypted", "is encrypted"
    if isinstance(error, EOFError):
        return Cut().problem
    if "Not a gzipped file" in str(error):
        return "damaged", "is followed by bytes that belong to no archive; what comes before is kept"
    if "CRC" in str(error):
        return "damaged", "has a wrong checksum: its bytes were changed"
    return "damaged", "is damaged and cannot be unpacked"


class Budget:
    """What one archive has used up of its limits, all levels together."""

    def __init__(self, limits: UnpackLimits, packed_bytes: int) -> None:
        self.limits, self._packed = limits, packed_bytes
        self._unpacked = self._members = 0

    def member(self) -> None:
        """Count a member."""
        self._members += 1
        if self._members > self.limits.max_members:
            raise Stopped("too_many_members", f"holds more than {self.limits.max_members} members")

    def grow(self, count: int) -> None:
        """Count unpacked bytes."""
        self._unpacked += count
        if self._unpacked > self.limits.max_total_bytes:
            raise Stopped("bomb", f"unpacks to more than {self.limits.max_total_bytes >> 20} MB")
        if self._unpacked > 4 * self.limits.free_bytes + self.limits.max_ratio * self._packed:
            raise Stopped("bomb", f"unpacks to more than {self.limits.max_ratio} times its size")


def some(stream: BinaryIO, size: int) -> bytes:
    """Up to `size` bytes; one read of what lies below, so that an error costs no bytes that were read before it."""
    read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
    return read(size)


class Counted(io.RawIOBase):
    """A stream that counts what is taken from it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.count = stream, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = some(self._stream, len(buffer))
        buffer[: len(data)] = data
        self.count += len(data)
        return len(data)


class Limited(Counted):
    """An unpacking stream that stops where it gives far more than it takes.

    Args:
        taken: how many packed bytes were taken so far.
    """

    def __init__(self, stream: BinaryIO, budget: Budget, taken: Callable[[], int]) -> None:
        super().__init__(stream)
        self._budget, self._taken = budget, taken

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        before = self.count
        size = super().readinto(buffer)
        limits = self._budget.limits
        self._budget.grow(self.count - before)
        if self.count > limits.max_member_bytes:
            raise Damaged("bomb", f"unpacks to more than {limits.max_member_bytes >> 20} MB")
        if self.count > limits.free_bytes + limits.max_ratio * self._taken():
            raise Damaged("bomb", f"unpacks to more than {limits.max_ratio} times its size")
        return size


def decompressed(stream: Counted, format: str) -> BinaryIO:
    """The unpacked bytes of a gzip, bzip2 or xz stream."""
    packed = cast(BinaryIO, io.BufferedReader(stream, 1 << 16))
    if format == "gz":
        return cast(BinaryIO, gzip.GzipFile(fileobj=packed, mode="rb"))
    return cast(BinaryIO, bz2.BZ2File(packed) if format == "bz2" else lzma.LZMAFile(packed))


def inner_name(name: str, stream: BinaryIO) -> str:
    """Name of what a compressed file holds: its own without the last extension, or the one that gzip wrote into it."""
    base = name.replace("\\", "/").rpartition("/")[2]
    extension = extension_of(base)
    inner = base[: len(base) - len(extension)] + _SHORT.get(extension, "")
    if format_of(inner, b""):
        return inner
    original = _gzip_name(cast(io.BufferedReader, stream).peek(512)[:512])
    return original if format_of(original, b"") else inner


def _gzip_name(head: bytes) -> str:
    """The file name in the header of a gzip stream; empty where there is none."""
    if len(head) < 12 or head[:2] != b"\x1f\x8b" or not head[3] & _NAME_FLAG:
        return ""
    start = 10
    if head[3] & _EXTRA_FLAG:
        start += 2 + int.from_bytes(head[10:12], "little")
    end = head.find(0, start)
    return head[start:end].decode("latin-1").replace("\\", "/").rpartition("/")[2] if end > start else ""
