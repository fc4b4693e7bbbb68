"""One JSON value, read strictly: no key twice in an object, no NaN, no number that would be changed, not too deep.

The standard library's decoder says what is JSON and what is wrong with it. orjson, which is several times as fast, is
asked first and believed where it cannot differ: it takes the last of two equal keys, so the colons of the text are
counted against the keys of the value, and it turns integers of more than 64 bits into floating point numbers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

import orjson

from tasks.ingest.records import NOT_UTF8, Problem

_DEEPEST = 200
MOST_VALUES = 1_000_000
_LARGE = 2 << 20
_INEXACT = 2.0**63  # a whole number beyond this may have lost digits
_SPACES = (b" ", b"\t", b"\n", b"\r")


class Unreadable(Exception):
    """Text that is no acceptable JSON value. Never leaves this stage."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(code, words)
        self.problem: Problem = (code, words)


def parse(data: bytes) -> object:
    """Value of the JSON text.

    Raises:
        Unreadable: invalid_utf8, broken_json, duplicate_keys or too_large, with words that quote nothing of the text.
    """
    if has_many_values(data):
        raise Unreadable("too_large", f"holds more than {MOST_VALUES:,} values")
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return _exact(data)
    return value if _is_sure(value, data) else _exact(data)


def _why_broken(error: Exception) -> str:
    """Words for what the standard library's decoder found."""
    if isinstance(error, json.JSONDecodeError):
        return f"not valid JSON ({error.msg} at column {error.colno})"
    return "not valid JSON (nested too deeply or a number too long)"


def has_many_values(text: bytes | str, start: int = 0, end: int | None = None) -> bool:
    """Whether a large text may hold so many values that they take far more memory than the text."""
    stop = len(text) if end is None else end
    if stop - start < _LARGE:
        return False
    if isinstance(text, str):
        return sum(text.count(sign, start, stop) for sign in (",", "{", "[")) > MOST_VALUES
    return sum(text.count(sign, start, stop) for sign in (b",", b"{", b"[")) > MOST_VALUES


def _is_sure(value: object, data: bytes) -> bool:
    keys = _keys(value)
    if keys == 0:
        return True
    pieces = data.split(b":")
    if len(pieces) - 1 == keys:
        return True
    pieces.pop()
    return sum(map(_may_end_key, pieces)) == keys


def _may_end_key(piece: bytes) -> bool:
    """Whether what stands before a colon may be a key: it ends with a quote that is not behind a lone backslash."""
    if not piece.endswith(b'"'):
        if not piece.endswith(_SPACES):
            return False
        piece = piece.rstrip()
        if not piece.endswith(b'"'):
            return False
    return not piece.endswith(b'\\"') or piece.endswith(b'\\\\"')


def _keys(value: object) -> int:
    """Number of keys in all objects; -1 where the value is too deep or holds a number that may have been changed."""
    if type(value) is not dict and type(value) is not list:
        return -1 if type(value) is float and abs(value) >= _INEXACT else 0
    level, keys, depth = [value], 0, 0
    while level:
        depth += 1
        below: list[dict[str, object] | list[object]] = []
        for item in level:
            children: Iterable[object] = item
            if type(item) is dict:
                keys += len(item)
                children = item.values()
            for child in children:
                kind = type(child)
                if kind is str:
                    continue
                if kind is dict or kind is list:
                    below.append(child)  # type: ignore[arg-type]
                elif kind is float and not -_INEXACT < child < _INEXACT:  # type: ignore[operator]
                    return -1
        if depth > _DEEPEST:
            return -1
        level = below
    return keys


def _exact(data: bytes) -> object:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Unreadable(*NOT_UTF8) from None
    twice: list[str] = []

    def pairs(found: list[tuple[str, object]]) -> dict[str, object]:
        made = dict(found)
        if len(made) < len(found):
            twice.append("")
        return made

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Unreadable("broken_json", _why_broken(error)) from None
    if _is_unsound(value):
        raise Unreadable("broken_json", "not valid JSON (nested too deeply or a number out of range)")
    if twice:
        raise Unreadable("duplicate_keys", "an object holds the same key twice, so that one of the values is lost")
    return value


def _refuse_constant(_: str) -> object:
    raise Unreadable("broken_json", "NaN and Infinity are no JSON; write null or leave the field out")


def _is_unsound(value: object) -> bool:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > _DEEPEST + 1 or any(isinstance(v, float) and not math.isfinite(v) for v in level):
            return True
        below: list[object] = []
        for item in level:
            below += item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        level = below
    return False
