"""All texts of a conversation: one place decides what is cleaned and what is looked at again, for every stage."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

from tasks.contracts import Message, ToolCall

Clean = Callable[[str], str]

_NUMBER_LETTERS = str.maketrans("0123456789", "abcdefghij")  # digits could make a number of what is left of a value


def cleaned_messages(messages: Sequence[Message], clean: Clean) -> tuple[Message, ...]:
    """The messages with every text cleaned.

    The answer of a tool still names its call, and calls that had different ids still have different ones.
    """
    ids = _ids(messages, clean)
    return tuple(_cleaned(message, clean, ids) for message in messages)


def message_texts(messages: Sequence[Message]) -> Iterator[str]:
    """Every text of the messages that came from their source."""
    for message in messages:
        yield from (message.content, message.name, message.tool_call_id)
        for call in message.tool_calls:
            yield from (call.id, call.name, call.arguments)


def _cleaned(message: Message, clean: Clean, ids: Mapping[str, str]) -> Message:
    content = clean(message.content)
    if not (message.tool_calls or message.tool_call_id or message.name):  # most are so, and there are many
        return message if content == message.content else Message(role=message.role, content=content)
    calls = tuple(
        ToolCall(id=ids.get(call.id, ""), name=clean(call.name), arguments=clean(call.arguments))
        for call in message.tool_calls
    )
    answered = ids.get(message.tool_call_id, "")
    changes = {"content": content, "name": clean(message.name), "tool_call_id": answered, "tool_calls": calls}
    return message.model_copy(update=changes)


def _ids(messages: Sequence[Message], clean: Clean) -> dict[str, str]:
    """Id → what stands for it. One placeholder can come of two values, which a number in letters keeps apart."""
    cleaned = {given: clean(given) for given in _ids_of(messages)}  # cleaned as often as it occurs: cleaning counts
    taken = {given for given, new in cleaned.items() if new == given}
    for given, new in cleaned.items():
        if new != given:
            cleaned[given] = next(free for free in _candidates(new) if free not in taken)
            taken.add(cleaned[given])
    return cleaned


def _ids_of(messages: Sequence[Message]) -> Iterator[str]:
    for message in messages:
        yield from filter(None, (message.tool_call_id, *(call.id for call in message.tool_calls)))


def _candidates(new: str) -> Iterator[str]:
    yield new
    for number in itertools.count(1):
        yield f"{new}-{str(number).translate(_NUMBER_LETTERS)}"
