"""Readers of JSON Lines and of JSON files: an array, or an object with one list of objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from tasks.errors import DataRefused, UsageError
from tasks.ingest.records import NOT_UTF8, RawRecord
from tasks.ingest.text import Cursor, Text, is_damaged

_SPACE = re.compile(r"[ \t\r\n]*")
_decoder = json.JSONDecoder()
_ROW_LISTS = ("messages", "conversations")  # lists that make up one row, not a list of rows


def read_jsonl(text: Text) -> Iterator[RawRecord]:
    """One record a line; the index is the zero-based line, so blank lines leave gaps."""
    cursor, position = Cursor(text), 0
    for index, line in enumerate(text.content.split("\n")):
        if line.strip():
            offset, number = cursor.at(position)
            yield _line(index, offset, number, line.strip())
        position += len(line) + 1


def _line(index: int, offset: int, number: int, line: str) -> RawRecord:
    if is_damaged(line):
        return RawRecord(index, offset, number, line, problem=NOT_UTF8)
    try:
        return RawRecord(index, offset, number, line, json.loads(line))
    except (ValueError, RecursionError) as error:
        return RawRecord(index, offset, number, line, problem=("broken_json", _why(error)))


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not valid JSON ({error.msg} at column {error.colno})"
    return "not valid JSON (nested too deeply or a number too long)"


def read_json(text: Text, where: str) -> list[RawRecord]:
    """Elements of the array, or of the one list of objects in an object, or the object as the only record.

    Raises:
        DataRefused: not JSON from its beginning on.
        UsageError: an object with several lists of objects.
    """
    content = text.content
    start = _skip(content, 0)
    if content[start] == "[":
        return list(_elements(text, start + 1))
    if content[start] != "{":
        raise DataRefused(
            "the file is not JSON",
            where=where,
            why=f"it begins with {content[start]!r}",
            remedy="a JSON file holds an array of objects, or an object with one list of objects",
        )
    try:
        whole = json.loads(content)
    except RecursionError:
        raise DataRefused("the file is nested too deeply", where=where, remedy="flatten the JSON") from None
    except ValueError as error:
        return _lines_after_all(text, where, error)
    lists = [k for k, v in whole.items() if k not in _ROW_LISTS and _is_list_of_objects(v)]
    if len(lists) > 1:
        raise UsageError(
            "the file holds more than one list of rows",
            where=where,
            why=f"lists: {', '.join(lists)}",
            remedy="put each list into a file of its own",
        )
    if not lists:
        return [RawRecord(0, text.bom_bytes, 1, content, whole)]
    return list(_elements(text, _start_of_list(content, start, lists[0])))


def _lines_after_all(text: Text, where: str, error: ValueError) -> list[RawRecord]:
    """A .json file is often JSON Lines; that is so if its first line is an object of its own."""
    records = list(read_jsonl(text))
    if len(records) > 1 and isinstance(records[0].value, dict):
        return records
    raise DataRefused(
        "the file is not valid JSON", where=where, why=str(error), remedy="repair the file or export it again"
    ) from error


def _is_list_of_objects(value: object) -> bool:
    return isinstance(value, list) and bool(value) and any(isinstance(v, dict) for v in value)


def _start_of_list(content: str, position: int, wanted: str) -> int:
    position += 1
    while True:
        key, position = _decoder.raw_decode(content, _skip(content, position))
        position = _skip(content, _skip(content, position) + 1)  # behind the colon
        if key == wanted:
            return position + 1
        _, position = _decoder.raw_decode(content, position)
        position = _skip(content, position) + 1  # behind the comma


def _elements(text: Text, position: int) -> Iterator[RawRecord]:
    """Elements from behind the bracket; what follows a broken one is one record that cannot be read."""
    content, cursor, index = text.content, Cursor(text), 0
    position = _skip(content, position)
    while position < len(content) and content[position] != "]":
        offset, line = cursor.at(position)
        try:
            value, end = _decoder.raw_decode(content, position)
        except (ValueError, RecursionError) as error:
            words = f"{_why(error)}; everything behind it cannot be read either"
            yield RawRecord(index, offset, line, content[position:], problem=("broken_json", words))
            return
        raw = content[position:end]
        yield RawRecord(index, offset, line, raw, value, NOT_UTF8 if is_damaged(raw) else None)
        index, position = index + 1, _skip(content, end)
        if content[position : position + 1] == ",":
            position = _skip(content, position + 1)
        elif content[position : position + 1] != "]":
            offset, line = cursor.at(min(position, len(content)))
            words = "the array is cut off or a comma is missing; what follows cannot be read"
            yield RawRecord(index, offset, line, content[position:], problem=("broken_json", words))
            return


def _skip(content: str, position: int) -> int:
    found = _SPACE.match(content, position)
    return found.end() if found else position
