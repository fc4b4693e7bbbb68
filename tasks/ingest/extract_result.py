"""What extraction of text from a file came to. Imports nothing of ours: the process that extracts starts fast."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

NOT_INSTALLED = "not_installed"


class Extracted(NamedTuple):
    """Text in Markdown, or the reason why there is none."""

    text: str = ""
    code: str = ""
    words: str = ""
    repair: str = ""


def joined(pieces: Iterable[str], between: str, max_bytes: int) -> Extracted:
    """The pieces as one text, unless it is too long."""
    held, size = list[str](), 0
    for piece in pieces:
        size += len(piece.encode("utf-8", "replace")) + len(between)
        if size > max_bytes:
            return Extracted(code="too_large", words=f"holds more than {max_bytes >> 20} MB of text",
                             repair="split it into several files")  # fmt: skip
        held.append(piece)
    return Extracted(between.join(held))
