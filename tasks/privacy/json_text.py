"""The parts of a JSON text that are searched for personal data, and where in it each of their characters is written."""

from __future__ import annotations

import json
import re

# A string with its quotes, or a whole number as long as that of a card.
_PART = re.compile(r'"(?:[^"\\]|\\.)*"|(?<![\w.+-])[0-9]{13,19}(?![\w.])', re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)")


def parts(text: str) -> list[tuple[int, int]] | None:
    """Where the strings of a JSON object or array are (quotes included) and its long numbers; None: it is no JSON."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return None
    return [m.span() for m in _PART.finditer(text)]


def said(inner: str) -> str:
    """What a string says, given what stands between its quotes."""
    return str(json.loads(f'"{inner}"', strict=False)) if "\\" in inner else inner


def places(inner: str) -> list[int]:
    """Where each character of `said(inner)` is written in `inner`, and at last where `inner` ends."""
    found: list[int] = []
    done = 0
    for escape in _ESCAPE.finditer(inner):  # each says one character
        found.extend(range(done, escape.start() + 1))
        done = escape.end()
    found.extend(range(done, len(inner) + 1))
    return found


def written(text: str, depth: int) -> str:
    """A text as it is written in a string, or in a string within so many strings."""
    for _ in range(depth):
        text = json.dumps(text, ensure_ascii=False)[1:-1]
    return text
