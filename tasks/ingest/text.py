"""From bytes to text: which encoding a file has, and which of its bytes are no text."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import DataRefused

_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WIDE = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
_MAX_NUL_SHARE = 0.005
_MAX_DAMAGED_SHARE = 0.2
_SAMPLE = 1 << 20
_SPACE = b" \t\r\n\x0b\x0c\x00"
_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
_NOT_WINDOWS_1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_MARK = "tuneloop-mark"
WINDOWS_1252 = "looks like Windows-1252 (Latin-1): save the file as UTF-8, e.g. iconv -f WINDOWS-1252 -t UTF-8"


@dataclass(frozen=True)
class Encoding:
    """How a file's bytes become text; `bom_bytes` is the length of its byte order mark."""

    name: str
    bom_bytes: int = 0


def width_of(encoding: str) -> int:
    """Bytes of the smallest character."""
    return {"16": 2, "32": 4}.get(encoding[4:6], 1)


def errors_of(encoding: str) -> str:
    """Error handler that turns every byte that is no text into a lone surrogate, so that `is_damaged` sees it."""
    return "surrogateescape" if encoding == "utf-8" else _MARK


def decode(data: bytes, encoding: str) -> str:
    """Text of bytes; what is no text appears as lone surrogates."""
    return data.decode(encoding, errors_of(encoding))


def byte_length(text: str, encoding: str) -> int:
    """Bytes that `decode` made this text of."""
    if encoding == "utf-8":
        return len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))
    return len(text.encode(encoding, "surrogatepass"))


def encoding_of(path: Path, where: str) -> Encoding:
    """UTF-8, UTF-16 or UTF-32, with or without a byte order mark, judged by the first megabyte.

    Raises:
        DataRefused: the file is empty, binary, or in no such encoding.
    """
    with path.open("rb") as stream:
        head = stream.read(_SAMPLE)
        rest = head
        while rest and not rest.strip(_SPACE):
            rest = stream.read(_SAMPLE)
    bom, name = next(((b, e) for b, e in _BOMS if head.startswith(b)), (b"", ""))
    if not rest or not rest.removeprefix(bom).strip(_SPACE):
        raise DataRefused(
            "the file is empty",
            where=where,
            why="it holds no bytes" if not head else "it holds nothing but white space",
            remedy="give a file with rows, or take it out of data.sources",
        )
    if not name:
        name = next((e for e in _WIDE if _is_wide(head, e)), "utf-8")
    if name == "utf-8":
        _refuse_binary(head[len(bom) :], where)
    return Encoding(name, len(bom))


def _is_wide(head: bytes, encoding: str) -> bool:
    """Whether text without a byte order mark has the zero bytes of this encoding, and no other fault."""
    width = width_of(encoding)
    sample = head[: min(len(head), 1 << 16) // width * width]
    if not sample or sample.count(0) < len(sample) * 0.2:
        return False
    try:
        text = sample.decode(encoding)
    except UnicodeDecodeError as error:
        if error.end < len(sample):  # a pair cut by the end of the sample is no fault
            return False
        text = sample[: error.start].decode(encoding)
    return bool(text) and not _CONTROL.search(text.encode()) and sum(c < "\u0250" for c in text) > len(text) * 0.3


def is_damaged(text: str) -> bool:
    """Whether text holds bytes that were no text, or halves of surrogate pairs."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def printable(text: str) -> str:
    """The text with U+FFFD for everything that cannot be written as UTF-8."""
    return _SURROGATE.sub("\ufffd", text) if is_damaged(text) else text


def repair_of(data: bytes) -> str:
    """What would make bytes readable that are not UTF-8: another encoding, where they look like it."""
    if _NOT_WINDOWS_1252.search(data) or _CONTROL.search(data):
        return ""
    text = data.decode("utf-8", "surrogateescape")
    if not text.isascii() and not re.search("[^\x00-\x7f\ud800-\udfff]", text):
        return WINDOWS_1252
    return ""


def _refuse_binary(data: bytes, where: str) -> None:
    content = data.decode("utf-8", "surrogateescape")
    nul = data.count(0) / len(data)
    damaged = 0.0 if content.isascii() else 1 - len(content.encode("utf-8", "ignore").decode()) / len(content)
    if nul <= _MAX_NUL_SHARE and damaged <= _MAX_DAMAGED_SHARE:
        return
    if _CONTROL.search(data):
        why = f"{nul:.0%} of its bytes are zero" if nul > _MAX_NUL_SHARE else f"{damaged:.0%} of it is not UTF-8 text"
        what, remedy = (
            "the file is binary, not text",
            "export the data as JSON Lines, JSON, CSV, TXT or Markdown in UTF-8",
        )
    else:
        what, why = "the file is not UTF-8 text", f"{damaged:.0%} of it is text of another encoding"
        remedy = "save it as UTF-8, e.g. iconv -f <its encoding> -t UTF-8"
    raise DataRefused(what, where=where, why=why, remedy=remedy)


def _mark(error: UnicodeError) -> tuple[str, int]:
    """Codec error handler for UTF-16 and UTF-32: a lone surrogate for each faulty unit, which keeps lengths."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    units = max(1, (error.end - error.start) // width_of(error.encoding))
    return "\udcff" * units, error.end


codecs.register_error(_MARK, _mark)
