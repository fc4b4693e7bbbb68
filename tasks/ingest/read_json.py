"""Reader of JSON files: an array, or an object with one list of objects, or one object. Nothing is held as a whole.

The file is walked once to find the list and the places where it is cut into parts, then each part is read by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tasks.errors import DataRefused, UsageError
from tasks.ingest.read_elements import Elements
from tasks.ingest.read_jsonl import line_parts
from tasks.ingest.read_lines import lines
from tasks.ingest.read_value import Unreadable, parse
from tasks.ingest.read_window import Broken, TooLong, Window
from tasks.ingest.records import Layout, Part, Problem, RawRecord, ReadLimits, too_large
from tasks.ingest.text import Encoding, decode

_ROW_LISTS = ("messages", "conversations", "conversation", "chosen", "rejected", "tools", "functions")
_DEEPEST = 100  # brackets on the first line of a list that somebody wrote
_EXCERPT = 16_384  # bytes that are shown of what cannot be read
_INCOMPLETE = "not valid JSON (a comma, a colon, a quote or an end is missing)"
_BEHIND: Problem = ("broken_json", "text behind the end of the JSON value cannot be read")


class _List(NamedTuple):
    """What a walk over a list found: where it is cut, whether it holds objects, whether it ends."""

    parts: list[Part]
    has_objects: bool
    ends: bool
    next_index: int


def json_parts(path: Path, encoding: Encoding, where: str, limits: ReadLimits) -> list[Part]:
    """Parts of a JSON file. One whose first line is an object and that has more lines is read as JSON Lines.

    Raises:
        DataRefused: not JSON from its beginning on.
        UsageError: an object with several lists of objects.
    """
    with path.open("rb") as stream:
        if _is_lines(stream, encoding, limits):
            return line_parts(path, encoding.name, encoding.bom_bytes, limits)
        window = Window(stream, encoding.bom_bytes, 1, encoding.name)
        first = window.peek()
        if first == "[":
            window.at += 1
            size = path.stat().st_size
            found = _survey(stream, window, size, encoding, limits)
            return [*found.parts, *(_behind(window, size, found.next_index, encoding) if found.ends else ())]
        if first == "{":
            return _object_parts(stream, window, path.stat().st_size, encoding, where, limits)
    raise DataRefused(
        "the file is not JSON",
        where=where,
        why="it begins with neither [ nor {",
        remedy="a JSON file holds an array of objects, or an object with one list of objects",
    )


def is_array(stream: BinaryIO, encoding: Encoding, limits: ReadLimits) -> bool:
    """Whether a file that is said to hold JSON Lines is one JSON array instead, on one line or on several."""
    first, more = _first_lines(stream, encoding, limits)
    goes_on = not more or (first.endswith((",", "[", "{")) and first.count("[") < _DEEPEST)
    return first.startswith("[") and goes_on


def _is_lines(stream: BinaryIO, encoding: Encoding, limits: ReadLimits) -> bool:
    """Whether the first line is an object of its own, and something follows it."""
    first, more = _first_lines(stream, encoding, limits)
    if not more or not first.startswith("{"):
        return False
    try:
        return isinstance(parse(first.encode("utf-8", "surrogateescape")), dict)
    except Unreadable as error:
        return error.problem[0] != "broken_json"


def _first_lines(stream: BinaryIO, encoding: Encoding, limits: ReadLimits) -> tuple[str, bool]:
    """The first line that is not blank, and whether another one follows it."""
    first = ""
    for line in lines(stream, encoding.bom_bytes, stream.seek(0, 2), encoding.name, limits.record_bytes):
        text = decode(line.data, encoding.name).strip()
        if text and first:
            return first, True
        first = first or text
    return first, False


def _survey(stream: BinaryIO, window: Window, size: int, encoding: Encoding, limits: ReadLimits) -> _List:
    """Walk over the list whose bracket the window has passed; the window is left behind it."""
    start, line = window.place()
    parts, index, has_objects = list[Part](), 0, False
    while True:
        elements, count, cut = Elements(stream, encoding.name, limits), 0, None
        for record in elements.read(start, line, index):
            if count and elements.is_object and _is_full(record.byte_offset - start, count, limits):
                cut = record
                break
            count += 1
            has_objects = has_objects or elements.is_object
        end = cut.byte_offset if cut else elements.end if elements.ended else size + 1
        if count:
            parts.append(_part("elements", start, end, index, line, encoding))
        index += count
        if cut is None:
            window.move(elements.end, elements.end_line)
            return _List(parts, has_objects, elements.ended, index)
        start, line = cut.byte_offset, cut.line


def _is_full(length: int, count: int, limits: ReadLimits) -> bool:
    return length >= limits.part_bytes or count >= limits.part_records


def _part(layout: Layout, start: int, end: int, index: int, line: int, encoding: Encoding) -> Part:
    return Part(layout=layout, byte_start=start, byte_end=end, first_index=index, first_line=line,
                encoding=encoding.name)  # fmt: skip


def _behind(window: Window, size: int, index: int, encoding: Encoding) -> Iterator[Part]:
    """What stands behind the end as a part that cannot be read."""
    if window.peek():
        start, line = window.place()
        yield _broken(start, size, index, line, encoding, _BEHIND)


def _broken(start: int, end: int, index: int, line: int, encoding: Encoding, problem: Problem) -> Part:
    return _part("broken", start, end, index, line, encoding).model_copy(update={"problem": problem})


def _object_parts(
    stream: BinaryIO, window: Window, size: int, encoding: Encoding, where: str, limits: ReadLimits
) -> list[Part]:
    lists, behind = dict[str, _List](), (0, 1)
    window.at += 1
    try:
        for name in _members(window, limits.record_bytes):
            window.at += 1
            found = _survey(stream, window, size, encoding, limits)
            if found.has_objects and name not in _ROW_LISTS:
                _add(lists, name, found, where)
                behind = window.place()
            if not found.ends:
                break
    except (Broken, TooLong) as error:
        why = str(error) or _INCOMPLETE
        if not lists:
            raise _not_json(where, why) from None
        (only,) = lists.values()
        problem = ("broken_json", f"{why}; what follows cannot be read")
        return [*only.parts, _broken(behind[0], size, only.next_index, behind[1], encoding, problem)]
    if lists:
        (only,) = lists.values()
        return [*only.parts, *_behind(window, size, only.next_index, encoding)]
    if window.peek():
        raise _not_json(where, "there is text behind its end")
    return [_part("whole", encoding.bom_bytes, size, 0, 1, encoding)]


def _add(lists: dict[str, _List], name: str, found: _List, where: str) -> None:
    if lists:
        raise UsageError(
            "the file holds more than one list of rows",
            where=where,
            why=f"lists: {', '.join([*lists, name])}",
            remedy="put each list into a file of its own",
        )
    lists[name] = found


def _members(window: Window, limit: int) -> Iterator[str]:
    """Names of the members that are lists, the window at their bracket; the caller passes the list. Passes the rest.

    Raises:
        Broken, TooLong: the object is no JSON.
    """
    if window.peek() == "}":
        window.at += 1
        return
    while True:
        if window.peek() != '"':
            raise Broken(_INCOMPLETE)
        name, window.at = window.value(limit)
        _expect(window, ":")
        if window.peek() == "[":
            yield str(name)
        else:
            _pass_value(window, limit)
        if window.peek() == "}":
            window.at += 1
            return
        _expect(window, ",")


def _pass_value(window: Window, limit: int) -> None:
    start, line = window.place()
    try:
        _, window.at = window.value(limit)
    except TooLong:
        window.move(start, line)
        if not window.pass_over():
            raise


def _expect(window: Window, sign: str) -> None:
    if window.peek() != sign:
        raise Broken(_INCOMPLETE)
    window.at += 1
    window.peek()


def _not_json(where: str, why: str) -> DataRefused:
    return DataRefused("the file is not valid JSON", where=where, why=why, remedy="repair the file or export it again")


def read_elements(path: Path, part: Part, limits: ReadLimits) -> Iterator[RawRecord]:
    """Elements of the list that start inside the part."""
    with path.open("rb") as stream:
        for record in Elements(stream, part.encoding, limits).read(part.byte_start, part.first_line, part.first_index):
            if record.byte_offset >= part.byte_end:
                return
            yield record


def read_whole(path: Path, part: Part, limits: ReadLimits) -> Iterator[RawRecord]:
    """The file as one JSON value."""
    length = part.byte_end - part.byte_start
    with path.open("rb") as stream:
        stream.seek(part.byte_start)
        data = stream.read(length if length <= limits.record_bytes else _EXCERPT)
    raw = decode(data, part.encoding)
    value, problem = None, too_large(limits.record_bytes) if length > limits.record_bytes else None
    if problem is None:
        try:
            value = parse(data if part.encoding == "utf-8" else raw.encode("utf-8", "surrogatepass"))
        except Unreadable as error:
            problem = error.problem
    yield RawRecord(part.first_index, part.byte_start, 1, raw, value, problem, length)


def read_broken(path: Path, part: Part) -> Iterator[RawRecord]:
    """The one record of a stretch that cannot be read."""
    length = part.byte_end - part.byte_start
    with path.open("rb") as stream:
        stream.seek(part.byte_start)
        raw = decode(stream.read(min(length, _EXCERPT)), part.encoding)
    yield RawRecord(part.first_index, part.byte_start, part.first_line, raw, None, part.problem, length)
