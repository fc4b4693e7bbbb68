"""Members of a zip file: by its directory, or, where that is missing because the file is cut off, by their headers."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from tasks.ingest.archive_streams import DAMAGE, Budget, Cut, Damaged, Limited, Member, Stopped, problem_of
from tasks.ingest.records import Problem

_END, _END_64, _LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_LOCAL, _DESCRIPTOR = b"PK\x03\x04", b"PK\x07\x08"
_END_SIZE, _LONGEST_COMMENT = 22, 65_535
_ENCRYPTED: Problem = ("encrypted", "is encrypted")
_LINK: Problem = ("link", "is a link; what it points to is not followed")
_STORED, _DEFLATED = 0, 8
_BLOCK = 1 << 16


def zip_members(path: Path, budget: Budget) -> Iterator[Member]:
    """Files, and whatever else is no folder.

    Raises:
        Damaged: there is no sound directory; what the file holds before its end was given then.
        Stopped: the directory is too large to be held.
    """
    with path.open("rb") as stream:
        _check_directory(stream, budget)
        try:
            archive = zipfile.ZipFile(stream)
        except Stopped:
            raise
        except DAMAGE:
            yield from _without_directory(stream, budget)
            raise Damaged("damaged", "has no directory: it is cut off; what comes before is kept") from None
        with archive:
            for info in archive.infolist():
                if not info.is_dir():
                    yield _member(archive, info, budget)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: Budget) -> Member:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if info.flag_bits & 1:
        return Member(info.filename, None, _ENCRYPTED)
    if kind == stat.S_IFLNK:
        return Member(info.filename, None, _LINK)
    if kind not in (0, stat.S_IFREG):
        return Member(info.filename, None, ("device", "is a device or a pipe, not a file"))
    try:
        opened = cast(BinaryIO, archive.open(info))
    except DAMAGE as error:
        return Member(info.filename, None, problem_of(error))
    return Member(info.filename, _buffered(Limited(opened, budget, lambda: info.compress_size)))


def _buffered(stream: io.RawIOBase) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(stream, _BLOCK))


def _check_directory(stream: BinaryIO, budget: Budget) -> None:
    """The directory is read as a whole, so its size is looked at first, where the standard library will find it."""
    size = stream.seek(0, 2)
    start = max(0, size - _END_SIZE - _LONGEST_COMMENT)
    stream.seek(start)
    tail = stream.read()
    at = len(tail) - _END_SIZE if tail[-_END_SIZE:].startswith(_END) and tail.endswith(b"\0\0") else tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_SIZE:
        return
    entries, length = struct.unpack("<HL", tail[at + 10 : at + 16])
    if at >= 20 and tail[at - 20 : at - 16] == _LOCATOR_64:
        (place,) = struct.unpack("<Q", tail[at - 12 : at - 4])
        stream.seek(min(place, size))
        record = stream.read(56)
        if len(record) == 56 and record.startswith(_END_64):
            entries, length = struct.unpack("<QQ", record[32:48])
    if entries > budget.limits.max_members or length > budget.limits.max_header_bytes:
        raise Stopped("too_many_members", f"holds more than {budget.limits.max_members} members")


class _Local(NamedTuple):
    """A member's own header."""

    name: str
    flags: int
    method: int
    crc: int
    packed_bytes: int
    start: int

    @property
    def has_descriptor(self) -> bool:
        return bool(self.flags & 8)


def _without_directory(stream: BinaryIO, budget: Budget) -> Iterator[Member]:
    """Members in the order of their headers, as far as they can be followed."""
    at = 0
    while (local := _local(stream, at)) is not None:
        known = not local.has_descriptor
        if local.flags & 1 or local.method not in (_STORED, _DEFLATED) or (local.method == _STORED and not known):
            problem = _ENCRYPTED if local.flags & 1 else ("unsupported", "is packed by a method that is not supported")
            yield Member(local.name, None, problem)
            if not known:
                return
            at = local.start + local.packed_bytes
            continue
        data = _Unpacked(stream, local)
        if not local.name.endswith("/"):
            limited = Limited(cast(BinaryIO, data), budget, lambda data=data: data.taken)  # type: ignore[misc]
            yield Member(local.name, _buffered(limited))
        while data.read(_BLOCK):
            budget.grow(_BLOCK)
        at = _behind(stream, local, data.taken)


def _local(stream: BinaryIO, at: int) -> _Local | None:
    stream.seek(at)
    head = stream.read(30)
    if len(head) < 30 or not head.startswith(_LOCAL):
        return None
    flags, method = struct.unpack("<HH", head[6:10])
    crc, packed, _, name_length, extra_length = struct.unpack("<LLLHH", head[14:30])
    name = stream.read(name_length)
    text = name.decode("utf-8", "surrogateescape") if flags & 0x800 else name.decode("cp437")
    return _Local(text, flags, method, crc, packed, at + 30 + name_length + extra_length)


def _behind(stream: BinaryIO, local: _Local, taken: int) -> int:
    """Where the next header may be."""
    end = local.start + taken
    if not local.has_descriptor:
        return end
    stream.seek(end)
    following = stream.read(24)
    length = 16 if following.startswith(_DESCRIPTOR) else 12
    return end + length + (8 if following[length : length + 4] not in (_LOCAL, b"PK\x01\x02") else 0)


class _Unpacked(io.RawIOBase):
    """The bytes of a member from its header on.

    Raises:
        Cut: the file ends inside the member.
        Damaged: its checksum is wrong.
    """

    def __init__(self, stream: BinaryIO, local: _Local) -> None:
        self._stream, self._local = stream, local
        self._inflater = zlib.decompressobj(-15) if local.method == _DEFLATED else None
        self._ahead, self._crc, self.taken, self._ended = b"", 0, 0, False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = (
            b"" if self._ended else self._stored(len(buffer)) if self._inflater is None else self._inflate(len(buffer))
        )
        self._crc = zlib.crc32(data, self._crc)
        if not data and not self._ended:
            self._ended = True
            if not self._local.has_descriptor and self._crc != self._local.crc:
                raise Damaged("damaged", "has a wrong checksum: its bytes were changed")
        buffer[: len(data)] = data
        return len(data)

    def _stored(self, size: int) -> bytes:
        wanted = min(size, self._local.packed_bytes - self.taken)
        return self._packed(wanted) if wanted else b""

    def _packed(self, size: int) -> bytes:
        self._stream.seek(self._local.start + self.taken)
        data = self._stream.read(size)
        if not data:
            raise Cut
        self.taken += len(data)
        return data

    def _inflate(self, size: int) -> bytes:
        inflater = self._inflater
        while inflater is not None and not inflater.eof:
            data = inflater.decompress(self._ahead or self._packed(_BLOCK), size)
            self._ahead = inflater.unconsumed_tail
            if inflater.eof:
                self.taken -= len(inflater.unused_data)
            if data:
                return data
        return b""
