"""One written form for every text: Unicode form, line ends, trailing blanks, control characters."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from tasks.contracts import Row

_BLANKS = " \t\u00a0"
# Control characters but for tab and newline, byte order marks, and marks that turn the reading direction.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069]")
_LINE_ENDS = re.compile(r"\r\n?|\u2028|\u2029|\x85")


def normalise(row: Row, form: Literal["NFC", "NFKC"]) -> Row:
    """The row in its one written form; `steps` names what changed something."""
    steps: list[str] = []
    texts = [_text(m.content, form, steps) for m in row.messages]
    rejected = _text(row.rejected, form, steps)
    if not steps:
        return row
    messages = tuple(m.model_copy(update={"content": t}) for m, t in zip(row.messages, texts, strict=True))
    changes = {"messages": messages, "rejected": rejected, "steps": (*row.steps, *dict.fromkeys(steps))}
    return row.model_copy(update=changes)


def _text(text: str, form: Literal["NFC", "NFKC"], steps: list[str]) -> str:
    if _is_plain(text):
        return text
    for name, changed in (
        ("line_ends", lambda t: _LINE_ENDS.sub("\n", t)),
        ("control_characters", lambda t: _CONTROL.sub("", t)),
        (f"unicode_{form.lower()}", lambda t: unicodedata.normalize(form, t)),
        ("trailing_blanks", lambda t: "\n".join(line.rstrip(_BLANKS) for line in t.split("\n")).strip("\n")),
        ("outer_blanks", str.strip),
    ):
        new = changed(text)
        if new != text:
            steps.append(name)
            text = new
    return text


def _is_plain(text: str) -> bool:
    """Whether a text is ASCII and in its one written form already, as most are: told by string methods alone."""
    if not text.isascii() or " \n" in text or "\t\n" in text or text != text.strip():
        return False
    return text.replace("\n", "").replace("\t", "").isprintable()
