"""Members of a tar stream, one after the other.

Headers are decoded by the standard library, but walked here: its own walk takes a broken header for the end of the
archive, keeps every member in memory and reads names of any length.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from tasks.ingest.archive_streams import Budget, Cut, Damaged, Member, some
from tasks.ingest.records import Problem

_BLOCK = 512
_ZERO = bytes(_BLOCK)
_LINK: Problem = ("link", "is a link; what it points to is not followed")
_DEVICE: Problem = ("device", "is a device or a pipe, not a file")
_SPARSE: Problem = ("unsupported", "is a sparse file")
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _PAX_SUN = b"L", b"K", b"x", b"g", b"X"


@dataclass
class _Ahead:
    """What stands before a member's own header: its long name and its attributes."""

    name: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


class _Data(io.RawIOBase):
    """The bytes of one member.

    Raises:
        Cut: the archive ends inside the member.
    """

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self.left = stream, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self.left)
        data = some(self._stream, wanted)
        if wanted and not data:
            raise Cut
        self.left -= len(data)
        buffer[: len(data)] = data
        return len(data)


def tar_members(stream: BinaryIO, budget: Budget) -> Iterator[Member]:
    """Files, and whatever else is no folder.

    Raises:
        Damaged: a header is broken, or the archive is cut off.
    """
    ahead = _Ahead()
    while (block := _exactly(stream, _BLOCK)) != _ZERO:
        info = _header(block)
        if info.type in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _PAX_SUN):
            _look_ahead(stream, info, ahead, budget)
            continue
        size = _size(info, ahead)
        if info.type == tarfile.GNUTYPE_SPARSE:
            _pass_sparse_headers(stream, block)
        data = _Data(stream, size)
        yield from _member(info, ahead, data)
        _drain(data, -size % _BLOCK)
        ahead = _Ahead()
    while some(stream, 1 << 16):  # to the end of what it is packed in, where the checksum is
        pass


def _header(block: bytes) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        raise Damaged("damaged", "has a broken header; what comes before is kept") from None


def _member(info: tarfile.TarInfo, ahead: _Ahead, data: _Data) -> Iterator[Member]:
    name = ahead.attributes.get("path") or ahead.name or info.name
    if info.isdir():
        return
    if info.issym() or info.islnk():
        yield Member(name, None, _LINK)
    elif info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse") for key in ahead.attributes):
        yield Member(name, None, _SPARSE)
    elif not info.isreg():
        yield Member(name, None, _DEVICE)
    else:
        yield Member(name, cast(BinaryIO, io.BufferedReader(data, 1 << 16)))


def _size(info: tarfile.TarInfo, ahead: _Ahead) -> int:
    text = ahead.attributes.get("size", "")
    size = int(text) if text.isdecimal() and len(text) < 20 else info.size
    if size < 0:
        raise Damaged("damaged", "has a broken header; what comes before is kept")
    return 0 if info.issym() or info.islnk() or info.isdev() or info.isdir() else size


def _look_ahead(stream: BinaryIO, info: tarfile.TarInfo, ahead: _Ahead, budget: Budget) -> None:
    if not 0 <= info.size <= budget.limits.max_header_bytes:
        raise Damaged("damaged", "has a header that is too large to be one")
    budget.member()
    data = _exactly(stream, info.size)
    _exactly(stream, -info.size % _BLOCK)
    if info.type == _LONG_NAME:
        ahead.name = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
    elif info.type in (_PAX, _PAX_SUN):
        ahead.attributes.update(_attributes(data))


def _attributes(data: bytes) -> Iterator[tuple[str, str]]:
    """The records `<length> <key>=<value>\\n` of an extended header, as far as they are sound."""
    at = 0
    while (space := data.find(b" ", at, at + 20)) > 0 and data[at:space].isdigit():
        length = int(data[at:space])
        key, equals, value = data[space + 1 : at + length - 1].partition(b"=")
        if not equals or length <= space - at:
            return
        yield key.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")
        at += length


def _pass_sparse_headers(stream: BinaryIO, block: bytes) -> None:
    goes_on = block[482]
    while goes_on:
        goes_on = _exactly(stream, _BLOCK)[504]


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    while len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            raise Cut
        data += more
    return data


def _drain(data: _Data, padding: int) -> None:
    """Go behind a member that was not read, or not to its end, and behind what fills its last block."""
    buffer = memoryview(bytearray(1 << 16))
    while data.left:
        data.readinto(buffer)
    data.left = padding
    while data.left:
        data.readinto(buffer)
