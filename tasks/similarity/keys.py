"""What makes two prompts or two answers the same, for duplicates, contradictions, splits and leaks alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from tasks.contracts import Message, Row

_SHORT_CHARACTERS = 40
_SHORT_WORDS = 4


def normalised(text: str) -> str:
    """Text without differences of case and white space."""
    return " ".join(text.split()).casefold()


def prompt_text(prompt: Sequence[Message]) -> str:
    """The normalised turns of a prompt, without system messages: what similarity is computed on.

    A system text is often long and the same in all rows, which would make everything look alike.
    """
    return normalised("\n".join(m.content for m in prompt if m.role != "system"))


def prompt_key(prompt: Sequence[Message]) -> str:
    """Equal exactly for prompts that are the same after normalisation, roles, calls and system text included."""
    return _dump([turn_key(m) for m in prompt])


def turn_key(message: Message) -> list[Any]:
    """What makes two turns the same: role, normalised text, and calls of tools."""
    plain: list[Any] = [message.role, normalised(message.content)]
    return [*plain, *_calls(message)] if message.tool_calls else plain


class RowKeys(NamedTuple):
    """What makes two rows the same, in parts; equal texts of a part mean the same.

    `compared` is what similarity is computed on: the prompt without system messages; where there is none, the answer.
    """

    messages: str
    question: str
    answer: str
    scope: str
    compared: str


def row_keys(row: Row) -> RowKeys:
    """Keys of a row.

    scope holds what must be equal for two rows to be near duplicates at all: whether their source is held out, the
    system text, the tools on offer, and in a preference pair the rejected answer. The question of a preference pair is
    its prompt with both answers in any order: two pairs contradict each other where they prefer opposite ones. A row
    without a prompt has no question.
    """
    turns = [turn_key(m) for m in row.messages]
    prompt = turns[: len(row.prompt)]
    asked = "\n".join(t[1] for t in prompt if t[0] != "system")
    answer = [answer_key(row.answer), *(_calls(row.messages[-1]) if len(prompt) < len(turns) else [])]
    rejected = [answer_key(row.rejected)] if row.rejected else []
    rest = [row.tools, rejected]
    return RowKeys(
        messages=_dump([turns, *rest]),
        question=_dump([prompt, row.tools, sorted([answer[0], *rejected]) if rejected else []])
        if any(t[1] for t in prompt)
        else "",
        answer=_dump(answer),
        scope=_dump([row.declared_split == "test", [t[1] for t in prompt if t[0] == "system"], *rest]),
        compared=asked or normalised(row.answer),
    )


def is_free_text(answer: str) -> bool:
    """Whether an answer is wording rather than a label, a number or an object with fields."""
    return _is_wording(answer) and _json_object(answer) is None


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


def _calls(message: Message) -> list[Any]:
    return [[call.name, call.arguments] for call in message.tool_calls]


def _plain(value: object) -> object:
    return normalised(value) if isinstance(value, str) else value


def _dump(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
