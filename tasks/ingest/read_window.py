"""A sliding view on the text of a JSON file: the values in it one after the other, with their place in bytes."""

from __future__ import annotations

import codecs
import json
import re
from typing import BinaryIO

from tasks.ingest.read_skip import Skipper
from tasks.ingest.read_value import has_many_values
from tasks.ingest.text import byte_length, errors_of

_SPACE = re.compile(r"[ \t\r\n]*")
_BLOCK = 1 << 20
_SLACK = 16  # an error this near to the end of the text may come from the text's end
_decoder = json.JSONDecoder()


class Broken(Exception):
    """No JSON value begins here, and why in words. Never leaves this stage."""


class TooLong(Exception):
    """The value that begins here is longer than the limit, or never ends. Never leaves this stage."""


class Window:
    """Text from a byte on; what was passed is forgotten.

    Attributes:
        text: the text that is held.
        at: position in it.
    """

    def __init__(self, stream: BinaryIO, start: int, line: int, encoding: str) -> None:
        self._stream, self._encoding = stream, encoding
        self.move(start, line)

    def move(self, start: int, line: int) -> None:
        """Go to another byte, which has to be the start of a character."""
        self._stream.seek(start)
        self._decoder = codecs.getincrementaldecoder(self._encoding)(errors_of(self._encoding))
        self.text, self.at, self.ended = "", 0, False
        self._marked, self._byte, self._line = 0, start, line

    def more(self) -> bool:
        """Hold more text; False at the end of the file."""
        if self.ended:
            return False
        self.place()
        self.text, self.at, self._marked = self.text[self.at :], 0, 0
        block = self._stream.read(max(_BLOCK, len(self.text)))
        self.ended = not block
        self.text += self._decoder.decode(block, final=self.ended)
        return True

    def place(self) -> tuple[int, int]:
        """Byte and one-based line of the position."""
        piece = self.text[self._marked : self.at]
        self._byte += byte_length(piece, self._encoding)
        self._line += piece.count("\n")
        self._marked = self.at
        return self._byte, self._line

    def peek(self) -> str:
        """The next character that is no white space, which becomes the position; empty at the end."""
        while True:
            found = _SPACE.match(self.text, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def value(self, limit: int) -> tuple[object, int]:
        """The value at the position, and the position behind it.

        Raises:
            Broken: there is none.
            TooLong: it does not end within `limit` characters.
        """
        while True:
            try:
                value, end = _decoder.raw_decode(self.text, self.at)
                if end < len(self.text) or self.ended:
                    if end - self.at > limit or has_many_values(self.text, self.at, end):
                        raise TooLong
                    return value, end
            except (ValueError, RecursionError) as error:
                if not self._may_be_cut(error):
                    raise Broken(self._why(error)) from None
            if len(self.text) - self.at > limit or has_many_values(self.text, self.at):
                raise TooLong
            self.more()

    def _why(self, error: Exception) -> str:
        if isinstance(error, json.JSONDecodeError):
            return f"not valid JSON ({error.msg} at character {error.pos - self.at + 1})"
        return "not valid JSON (nested too deeply or a number too long)"

    def _may_be_cut(self, error: Exception) -> bool:
        if self.ended or not isinstance(error, json.JSONDecodeError):
            return False
        return error.pos >= len(self.text) - _SLACK or error.msg.startswith("Unterminated string")

    def pass_over(self) -> bool:
        """Go behind the object, list or text at the position without holding it; False where it does not end."""
        skipper = Skipper(self.peek())
        self.at += 1
        while (end := skipper.feed(self.text[self.at :])) < 0:
            self.at = len(self.text)
            if not self.more():
                return False
        self.at += end
        return True
