"""From a record to messages, or to the reason why there are none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tasks.contracts import Message
from tasks.ingest.shape import ShapeDecision
from tasks.ingest.text import is_damaged

_ROLES = {
    "system": "system", "user": "user", "human": "user", "customer": "user", "assistant": "assistant",
    "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant",
}  # fmt: skip


class NotARow(Exception):
    """A record that cannot become a row: reason code and plain words. Never leaves this stage."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(code, words)
        self.code, self.words = code, words


def messages_of(value: object, decision: ShapeDecision) -> tuple[Message, ...]:
    """Messages of one record.

    Raises:
        NotARow: a missing field, an empty or non-text content, an unknown role, no answer.
    """
    if not isinstance(value, Mapping):
        raise NotARow("not_an_object", f"is {_kind(value)}, not an object with named fields")
    if decision.shape == "document":
        raise NotARow("no_answer", "the document has no answer to learn from")
    if decision.shape == "chat":
        return _turns(value, "messages", "role", "content")
    if decision.shape == "sharegpt":
        return _turns(value, "conversations", "from", "value", system=value.get("system"))
    return _pair(value, decision)


def _pair(value: Mapping[str, Any], decision: ShapeDecision) -> tuple[Message, ...]:
    columns = decision.columns
    prompt = _text(value, columns["prompt"])
    context = value.get(columns["context"]) if "context" in columns else None
    if isinstance(context, str) and context.strip():
        prompt = f"{prompt}\n\n{context}"
    answer = _text(value, columns["completion"], numbers=decision.shape == "classification")
    turns = (Message(role="user", content=prompt), Message(role="assistant", content=answer))
    system = value.get(columns["system"]) if "system" in columns else None
    if isinstance(system, str) and system.strip():
        return (Message(role="system", content=_sound(system, columns["system"])), *turns)
    return turns


def _turns(
    value: Mapping[str, Any], column: str, role_key: str, text_key: str, system: object = None
) -> tuple[Message, ...]:
    turns = value.get(column)
    if turns is None:
        raise NotARow("missing_field", f"has no '{column}'")
    if not isinstance(turns, list):
        raise NotARow("not_text", f"'{column}' is {_kind(turns)}, not a list")
    if not turns:
        raise NotARow("empty", f"'{column}' is empty")
    made = [_turn(turn, role_key, text_key) for turn in turns]
    if isinstance(system, str) and system.strip() and made[0].role != "system":
        made.insert(0, Message(role="system", content=_sound(system, "system")))
    if not any(m.role == "assistant" for m in made):
        raise NotARow("no_answer", "has no turn of the assistant")
    return tuple(made)


def _turn(turn: object, role_key: str, text_key: str) -> Message:
    if not isinstance(turn, Mapping):
        raise NotARow("not_an_object", f"a turn is {_kind(turn)}, not an object")
    role = turn.get(role_key)
    if role is None:
        raise NotARow("missing_field", f"a turn has no '{role_key}'")
    if not isinstance(role, str) or role.lower() not in _ROLES:
        raise NotARow("unknown_role", f"a turn's '{role_key}' is none of {', '.join(_ROLES)}")
    return Message(role=_ROLES[role.lower()], content=_text(_joined(turn, text_key), text_key))  # type: ignore[arg-type]


def _joined(turn: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A turn whose content is a list of text parts, as the OpenAI API allows, with the parts joined."""
    parts = turn.get(key)
    if isinstance(parts, list) and parts and all(isinstance(p, dict) and p.get("type") == "text" for p in parts):
        return {**turn, key: "".join(str(p.get("text", "")) for p in parts)}
    return turn


def _text(value: Mapping[str, Any], name: str, *, numbers: bool = False) -> str:
    found = value.get(name)
    if found is None:
        raise NotARow("missing_field", f"has no '{name}'")
    if numbers and isinstance(found, (int, bool)):
        found = json.dumps(found)
    if not isinstance(found, str):
        raise NotARow("not_text", f"'{name}' is {_kind(found)}, not text")
    if not found.strip():
        raise NotARow("empty", f"'{name}' is empty")
    return _sound(found, name)


def _sound(text: str, name: str) -> str:
    if is_damaged(text):
        raise NotARow("invalid_utf8", f"'{name}' holds half a surrogate pair, which is no character")
    return text


def metadata_of(value: object, decision: ShapeDecision) -> dict[str, str]:
    """Metadata of a record as strings: the known columns, and every plain value of a `metadata` object."""
    if not isinstance(value, Mapping):
        return {}
    nested = value.get("metadata")
    found = dict(nested) if isinstance(nested, Mapping) else {}
    found |= {name: value.get(column) for name, column in decision.metadata.items() if column in value}
    texts = {str(k): _as_text(v) for k, v in found.items()}
    return {k: v for k, v in texts.items() if v and not is_damaged(k + v)}


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return value.strip()
    return json.dumps(value) if isinstance(value, (int, float, bool)) else ""


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null")
