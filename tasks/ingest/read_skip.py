"""Finds the end of a JSON value that is too large to be decoded: by its brackets and quotes alone, block by block."""

from __future__ import annotations

import re

_MARK = re.compile(r'[\\"{}\[\]]')
_TO_STEPS = bytes(1 if c in b"{[" else 255 if c in b"}]" else 0 for c in range(256))  # 255 is -1 as a signed byte
_NO_BRACKETS = bytes(c for c in range(256) if c not in b"{}[]")


class Skipper:
    """Follows one object, list or text through the blocks of a file.

    Args:
        first: its first character; blocks start behind it.
    """

    def __init__(self, first: str) -> None:
        self._depth, self._quoted, self._carried = int(first != '"'), first == '"', ""

    def feed(self, block: str) -> int:
        """Where the value ends in the block, as a position behind its last character; -1 where it goes on."""
        text, carried = self._carried + block, len(self._carried)
        slashes = len(text) - len(text.rstrip("\\")) if text.endswith("\\") else 0
        kept = text[: len(text) - slashes % 2]  # a lone backslash is looked at with what follows it
        self._carried = text[len(kept) :]
        depth, quoted, lowest, quotes = self._after(kept)
        if lowest <= 0 if self._depth else quotes:
            return self._end(kept) - carried
        self._depth, self._quoted = depth, quoted
        return -1

    def _after(self, text: str) -> tuple[int, bool, int, int]:
        """Depth and whether a text is open behind these characters; the lowest depth among them; their quotes."""
        import numpy

        data = text.encode("utf-8", "surrogatepass").replace(b"\\\\", b"").replace(b'\\"', b"")
        pieces = data.split(b'"')
        outside = b"".join(pieces[1 if self._quoted else 0 :: 2])
        steps = numpy.frombuffer(outside.translate(_TO_STEPS, _NO_BRACKETS), dtype=numpy.int8)
        depths = self._depth + numpy.cumsum(steps, dtype=numpy.int64)
        quoted = self._quoted != (len(pieces) % 2 == 0)
        last, lowest = (int(depths[-1]), int(depths.min())) if len(depths) else (self._depth, self._depth)
        return last, quoted, lowest, len(pieces) - 1

    def _end(self, text: str) -> int:
        """The position behind the value, which ends in this text."""
        depth, quoted, escaped = self._depth, self._quoted, -1
        for mark in _MARK.finditer(text):
            place, sign = mark.start(), mark.group()
            if place == escaped:
                continue
            if sign == "\\":
                escaped = place + 1
                continue
            if sign == '"':
                quoted = not quoted
            elif not quoted:
                depth += 1 if sign in "{[" else -1
            if depth <= 0 and not quoted:
                return mark.end()
        return len(text)
