"""Elements of a JSON list one after the other; a broken one does not take the sound ones behind it along."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO

from tasks.ingest.read_value import Unreadable, parse
from tasks.ingest.read_window import Broken, TooLong, Window
from tasks.ingest.records import NOT_UTF8, Problem, RawRecord, ReadLimits, too_large
from tasks.ingest.text import byte_length, is_damaged, repair_of, width_of

_MOST_SHOWN = 4096  # characters that are kept of what is not held
_SEARCHED = 1 << 20  # characters behind a broken element in which the next sound one is looked for
_BUDGET = 32 << 20  # characters that may be tried in vain
_LEAST_COST, _DEEP_COST = 256, 16_384
_MOST_SHAPES = 64
_CUT: Problem = ("broken_json", "the list is cut off; what follows cannot be read")
_NO_COMMA: Problem = ("broken_json", "a comma is missing behind this element")
_decoder = json.JSONDecoder()


class Elements:
    """Reads the elements of one list from a byte on.

    What it does depends on the bytes from there on alone, so that a list can be read from any sound element.

    Attributes:
        is_sound: whether the element that was read last could be decoded.
        is_object: whether it is an object.
        ended: whether the list's closing bracket was met.
        end, end_line: byte and line behind what was read.
    """

    def __init__(self, stream: BinaryIO, encoding: str, limits: ReadLimits) -> None:
        self._stream, self._encoding, self._limit = stream, encoding, limits.record_bytes
        self._shapes: set[frozenset[str]] = set()
        self._budget, self._index = _BUDGET, 0
        self.is_sound = self.is_object = self.ended = self._gave_up = False
        self.end, self.end_line = 0, 1

    def read(self, start: int, line: int, index: int) -> Iterator[RawRecord]:
        """Records from the start of an element, or from behind the list's opening bracket, to the list's end."""
        window, self._index = Window(self._stream, start, line, self._encoding), index
        while (first := window.peek()) not in ("", "]"):
            record = self._element(window)
            yield record
            if window.peek() == ",":
                window.at += 1
            elif self.is_sound and window.peek() not in ("", "]"):
                yield self._without_comma(record)
        self.is_sound, self.ended = False, first == "]"
        if not (self.ended or self._gave_up):
            yield self._rest(window, _CUT)
        window.at += self.ended
        self.end, self.end_line = window.place()

    def _element(self, window: Window) -> RawRecord:
        start, line = window.place()
        self.is_sound = True
        try:
            value, end = window.value(self._limit)
        except TooLong:
            return self._long(window, start, line)
        except Broken as error:
            return self._broken(window, start, line, str(error))
        begin = window.at
        self.is_object = isinstance(value, dict)
        if isinstance(value, dict) and len(self._shapes) < _MOST_SHAPES:
            self._shapes.add(frozenset(value))
        if isinstance(value, str) and self._next_alike(window.text, begin + 1, end):
            return self._broken(window, start, line, "not valid JSON (a text with an element in it: a quote too many)")
        window.at = end
        return self._sound(start, line, window.text[begin:end])

    def _sound(self, start: int, line: int, raw: str) -> RawRecord:
        length = byte_length(raw, self._encoding)
        if is_damaged(raw):
            repair = repair_of(raw.encode("utf-8", "surrogateescape")) if self._encoding == "utf-8" else ""
            return self._record(start, line, raw, None, NOT_UTF8, length, repair)
        try:
            return self._record(start, line, raw, parse(raw.encode()), None, length)
        except Unreadable as error:
            return self._record(start, line, raw, None, error.problem, length)

    def _long(self, window: Window, start: int, line: int) -> RawRecord:
        """An element over the limit, which is passed over; or one that never ends, because a quote is missing."""
        shown = window.text[window.at : window.at + _MOST_SHOWN]
        if shown[0] in '{["' and window.pass_over() and window.peek() in (",", "]"):
            length = window.place()[0] - start
            return self._record(start, line, shown, None, too_large(self._limit), length)
        window.move(start, line)
        window.more()
        return self._broken(window, start, line, "not valid JSON (a text or a list in it does not end)")

    def _broken(self, window: Window, start: int, line: int, why: str) -> RawRecord:
        """An element that is no JSON, up to the next one that is; to the end of the file where there is none."""
        self.is_sound = self.is_object = False
        while len(window.text) - window.at < _SEARCHED and window.more():
            pass
        text, begin = window.text, window.at
        if not self._shapes:
            self._shapes |= self._usual_shape(text, begin + 1, begin + _SEARCHED)
        found = self._next_alike(text, begin + 1, begin + _SEARCHED)
        if found:
            window.at = found
            raw = text[begin:found].rstrip(", \t\r\n")
            return self._record(start, line, raw, None, ("broken_json", why), byte_length(raw, self._encoding))
        if text[begin] in "{[" and window.pass_over() and window.peek() in (",", "]"):
            raw = text[begin : window.at] if window.text is text else text[begin : begin + _MOST_SHOWN]
            return self._record(start, line, raw, None, ("broken_json", why), window.place()[0] - start)
        window.move(start, line)
        window.more()
        return self._rest(window, ("broken_json", f"{why}; everything behind it cannot be read either"))

    def _next_alike(self, text: str, start: int, stop: int) -> int:
        """Where an object with the same keys as one that was read before begins; 0 where there is none.

        The keys are compared so that an object inside the broken one is not taken for a row.
        """
        while self._shapes and self._budget > 0 and (start := text.find("{", start, stop)) > 0:
            try:
                value, end = _decoder.raw_decode(text, start)
            except (ValueError, RecursionError) as error:
                self._budget -= _cost(error, start)
            else:
                if frozenset(value) in self._shapes:
                    return start
                self._budget -= end - start
            start += 1
        return 0

    def _usual_shape(self, text: str, start: int, stop: int) -> set[frozenset[str]]:
        """The keys of the objects that make up most of the text, where the first element of a list is broken."""
        sizes: Counter[frozenset[str]] = Counter()
        while self._budget > 0 and (start := text.find("{", start, stop)) > 0:
            try:
                value, end = _decoder.raw_decode(text, start)
            except (ValueError, RecursionError) as error:
                self._budget -= _cost(error, start)
                start += 1
            else:
                sizes[frozenset(value)] += end - start
                start = end
        return {max(sizes, key=lambda keys: (sizes[keys], sorted(keys)))} if sizes else set()

    def _without_comma(self, before: RawRecord) -> RawRecord:
        """What is wrong between two elements, at the last sign of the first one."""
        width = width_of(self._encoding)
        place = before.byte_offset + max(before.byte_length - width, 0)
        line = before.line + before.raw.count("\n")
        self.is_sound = False
        return self._record(place, line, before.raw[-1:], None, _NO_COMMA, width)

    def _rest(self, window: Window, problem: Problem) -> RawRecord:
        """All that is left of the file; the window is behind it then."""
        start, line = window.place()
        size = os.fstat(self._stream.fileno()).st_size
        shown = window.text[window.at : window.at + _MOST_SHOWN]
        window.move(size, line)
        self._gave_up = True
        return self._record(start, line, shown, None, problem, size - start)

    def _record(
        self, start: int, line: int, raw: str, value: object, problem: Problem | None, length: int, repair: str = ""
    ) -> RawRecord:
        self._index += 1
        return RawRecord(self._index - 1, start, line, raw, value, problem, length, repair)


def _cost(error: Exception, start: int) -> int:
    """What a vain try is counted as: the characters that were decoded, more where it went deep."""
    return max(error.pos - start, _LEAST_COST) if isinstance(error, json.JSONDecodeError) else _DEEP_COST
