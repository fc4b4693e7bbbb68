"""One written form for every text: Unicode form, line ends, trailing blanks, control characters."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from tasks.contracts import Message, Row

_TRAILING = re.compile(r"[ \t\u00a0]+(?=\n|\Z)")
# Control characters but for tab and newline, byte order marks, and marks that turn the reading direction.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069]")
_LINE_ENDS = re.compile(r"\r\n?|\u2028|\u2029|\x85")


def normalise(row: Row, form: Literal["NFC", "NFKC"]) -> Row:
    """The row in its one written form; `steps` names what changed something."""
    steps: list[str] = []
    messages = tuple(_message(m, form, steps) for m in row.messages)
    if not steps:
        return row
    return row.model_copy(update={"messages": messages, "steps": (*row.steps, *dict.fromkeys(steps))})


def _message(message: Message, form: Literal["NFC", "NFKC"], steps: list[str]) -> Message:
    text = message.content
    for name, changed in (
        ("line_ends", lambda t: _LINE_ENDS.sub("\n", t)),
        ("control_characters", lambda t: _CONTROL.sub("", t)),
        (f"unicode_{form.lower()}", lambda t: unicodedata.normalize(form, t)),
        ("trailing_blanks", lambda t: _TRAILING.sub("", t).strip("\n")),
        ("outer_blanks", str.strip),
    ):
        new = changed(text)
        if new != text:
            steps.append(name)
            text = new
    return message if text == message.content else Message(role=message.role, content=text)
