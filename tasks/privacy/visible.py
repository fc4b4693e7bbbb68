"""Text as a reader sees it, with the way back to the original positions.

Personal data must not escape because it is written with full-width digits, no-break spaces or invisible characters.
"""

from __future__ import annotations

import functools
import re
import unicodedata

# Printable ASCII, Latin letters and curly quotes: nothing here is invisible or stands for an ASCII character.
_PLAIN = re.compile(r"[\t\n\r -~À-ÖØ-öø-ž‘’“”€]*")
_INVISIBLE = {"Cf", "Cc"}
_DASHES = dict.fromkeys(map(ord, "‐‑‒–—−"), "-")
_LAST_OF_FIRST_PLANE = 0xFFFF
# Beyond the first plane: styled letters and digits, enclosed ones, tags, compatibility ideographs.
_STYLED = "\U0001d400-\U0001d7ff\U0001f100-\U0001f1ff\U0001fbf0-\U0001fbf9\U0002f800-\U0002fa1f\U000e0000-\U000e0fff"


def as_seen(text: str) -> tuple[str, list[int] | None]:
    """Text without invisible characters and with compatible ones unified, and each character's original position.

    The positions are None where every character stayed in its place, which is so for most text.
    """
    if _PLAIN.fullmatch(text):
        return text, None
    places = [(found.start(), _seen(found.group())) for found in _changing().finditer(text)]
    if not places:
        return text, None
    moved = any(len(shown) != 1 for _, shown in places)
    parts: list[str] = []
    positions: list[int] = []
    done = 0
    for at, shown in places:
        parts += (text[done:at], shown)
        if moved:
            positions.extend(range(done, at))
            positions.extend([at] * len(shown))
        done = at + 1
    positions.extend(range(done, len(text)))
    return "".join((*parts, text[done:])), positions if moved else None


@functools.lru_cache(maxsize=1)
def _changing() -> re.Pattern[str]:
    """One character that is seen as another one, or not at all; worked out when the first such text comes."""
    ranges: list[list[int]] = []
    for code in range(_LAST_OF_FIRST_PLANE + 1):
        if _seen(chr(code)) == chr(code):
            continue
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return re.compile("[" + "".join(f"\\u{a:04x}-\\u{b:04x}" for a, b in ranges) + _STYLED + "]")


@functools.lru_cache(maxsize=4096)
def _seen(character: str) -> str:
    if character in "\n\r\t":
        return character
    if character.isascii() and character.isprintable():
        return character
    if unicodedata.category(character) in _INVISIBLE:
        return ""
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    return unicodedata.normalize("NFKC", character).translate(_DASHES)
