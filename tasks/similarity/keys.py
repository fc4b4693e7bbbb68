"""What makes two prompts or two answers the same, for duplicates, contradictions, splits and leaks alike."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from tasks.contracts import Message

_SPACE = re.compile(r"\s+")
_SHORT_CHARACTERS = 40
_SHORT_WORDS = 4


def normalised(text: str) -> str:
    """Text without differences of case and white space."""
    return _SPACE.sub(" ", text).strip().casefold()


def prompt_text(prompt: Sequence[Message]) -> str:
    """The normalised turns of a prompt, without system messages: what similarity is computed on.

    A system text is often long and the same in all rows, which would make everything look alike.
    """
    return normalised("\n".join(m.content for m in prompt if m.role != "system"))


def prompt_key(prompt: Sequence[Message]) -> str:
    """Equal exactly for prompts that are the same after normalisation, roles and system text included."""
    return json.dumps([[m.role, normalised(m.content)] for m in prompt], ensure_ascii=False)


def answer_key(answer: str) -> str:
    """Equal exactly for answers that say the same.

    For a JSON object those are its short fields: labels, numbers, truth values, and text of at most 40 characters and
    4 words. Longer text in it is wording (a reply, an explanation) and may differ. An object without any short field,
    and every other answer, is compared as a whole, without case and white space.
    """
    fields = _json_object(answer)
    if fields is None:
        return normalised(answer)
    short = {name: _plain(value) for name, value in fields.items() if not _is_wording(value)}
    if not short:
        return _dump({name: _plain(value) for name, value in fields.items()})
    return _dump({"names": sorted(fields), "values": short})


def _json_object(answer: str) -> dict[str, Any] | None:
    if not answer.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_wording(value: object) -> bool:
    return isinstance(value, str) and (len(value) > _SHORT_CHARACTERS or len(value.split()) > _SHORT_WORDS)


def _plain(value: object) -> object:
    return normalised(value) if isinstance(value, str) else value


def _dump(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
