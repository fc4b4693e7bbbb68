"""From bytes to text, with the way back to byte offsets and lines."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from tasks.errors import DataRefused

_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_MAX_NUL_SHARE = 0.005
_MAX_DAMAGED_SHARE = 0.2


@dataclass(frozen=True)
class Text:
    """A decoded file. Bytes that are not UTF-8 appear as lone surrogates U+DC80..U+DCFF, so nothing is lost."""

    content: str
    encoding: str
    bom_bytes: int


class Cursor:
    """Byte offset and one-based line of positions in a text; positions must not decrease."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self._position, self._byte, self._line = 0, text.bom_bytes, 1

    def at(self, position: int) -> tuple[int, int]:
        piece = self._text.content[self._position : position]
        errors = "surrogateescape" if self._text.encoding == "utf-8" else "surrogatepass"
        self._byte += len(piece.encode(self._text.encoding, errors))
        self._line += piece.count("\n")
        self._position = position
        return self._byte, self._line


def decode(data: bytes, where: str) -> Text:
    """Text of a file: UTF-8, or UTF-16/32 with a byte order mark.

    Raises:
        DataRefused: the file is empty or binary.
    """
    bom, encoding = next(((b, e) for b, e in _BOMS if data.startswith(b)), (b"", "utf-8"))
    if encoding == "utf-8":
        content = data[len(bom) :].decode("utf-8", "surrogateescape")
        _refuse_binary(data, content, where)
    else:
        content = data[len(bom) :].decode(encoding, "replace")
    if not content.strip():
        raise DataRefused(
            "the file is empty",
            where=where,
            why="it holds no bytes" if not data else "it holds nothing but white space",
            remedy="give a file with rows, or take it out of data.sources",
        )
    return Text(content, encoding, len(bom))


def is_damaged(text: str) -> bool:
    """Whether text holds bytes that were not UTF-8, or halves of surrogate pairs."""
    return any("\ud800" <= c <= "\udfff" for c in text) if not text.isascii() else False


def printable(text: str) -> str:
    """The text with U+FFFD for everything that cannot be written as UTF-8."""
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text) if is_damaged(text) else text


def _refuse_binary(data: bytes, content: str, where: str) -> None:
    if not data:
        return
    nul = data.count(0) / len(data)
    damaged = 0.0 if content.isascii() else sum("\udc80" <= c <= "\udcff" for c in content) / len(content)
    if nul <= _MAX_NUL_SHARE and damaged <= _MAX_DAMAGED_SHARE:
        return
    why = f"{nul:.0%} of its bytes are zero" if nul > _MAX_NUL_SHARE else f"{damaged:.0%} of it is not UTF-8 text"
    raise DataRefused(
        "the file is binary, not text",
        where=where,
        why=why,
        remedy="export the data as JSON Lines, JSON, CSV, TXT or Markdown in UTF-8",
    )
