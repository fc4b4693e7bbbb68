"""Text as a reader sees it, with the way back to the original positions.

Personal data must not escape because it is written with full-width digits, no-break spaces or invisible characters.
"""

from __future__ import annotations

import re
import unicodedata

# Printable ASCII, Latin letters and curly quotes: nothing here is invisible or stands for an ASCII character.
_PLAIN = re.compile(r"[\t\n\r -~À-ÖØ-öø-ž‘’“”€]*")
_INVISIBLE = {"Cf", "Cc"}
_DASHES = dict.fromkeys(map(ord, "‐‑‒–—−"), "-")


def as_seen(text: str) -> tuple[str, list[int] | None]:
    """Text without invisible characters and with compatible ones unified, and each character's original position.

    The positions are None where nothing changed, which is so for most text.
    """
    if _PLAIN.fullmatch(text):
        return text, None
    characters: list[str] = []
    positions: list[int] = []
    for position, character in enumerate(text):
        for seen in _seen(character):
            characters.append(seen)
            positions.append(position)
    return "".join(characters), positions


def _seen(character: str) -> str:
    if character in "\n\r\t":
        return character
    if character.isascii() and character.isprintable():
        return character
    if unicodedata.category(character) in _INVISIBLE:
        return ""
    return unicodedata.normalize("NFKC", character).translate(_DASHES)
