"""From a record to messages, or to the reason why there are none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tasks.contracts import Message
from tasks.ingest.convert_preference import preferred
from tasks.ingest.convert_turns import Converted, NotARow, kind_of, pair_turns, sound, text_of, tools_of, turns_of
from tasks.ingest.shape_columns import ShapeDecision, value_at
from tasks.ingest.text import is_damaged

__all__ = ["Converted", "NotARow", "converted", "has_damaged_name", "metadata_of"]


def converted(value: object, decision: ShapeDecision) -> Converted:
    """What one record says, in the chat form.

    Raises:
        NotARow: a missing field, an empty or non-text content, an unknown role, no answer, no preference.
    """
    if not isinstance(value, Mapping):
        raise NotARow("not_an_object", f"is {kind_of(value)}, not an object with named fields")
    if has_damaged_name(value):
        raise NotARow("invalid_utf8", "the name of a field holds half a surrogate pair, which is no character")
    if decision.shape == "document":
        raise NotARow(
            "no_answer",
            "the document has no answer to learn from",
            "write sections with a quoted message and a fenced json answer, or rows with a prompt and a completion",
        )
    tools = tools_of(value_at(value, decision.columns["tools"])) if "tools" in decision.columns else ""
    if decision.shape == "preference":
        return preferred(value, decision, tools)
    if decision.shape in ("chat", "sharegpt"):
        column = decision.columns.get("messages", "messages" if decision.shape == "chat" else "conversations")
        messages = turns_of(value_at(value, column), column, decision.turn_keys)
        if not any(m.role == "assistant" for m in messages):
            raise NotARow("no_answer", "has no turn of the assistant")
        return Converted(_with_system(value, decision, messages), tools=tools)
    return Converted(_pair(value, decision), tools=tools)


def _with_system(
    value: Mapping[str, Any], decision: ShapeDecision, messages: tuple[Message, ...]
) -> tuple[Message, ...]:
    column = decision.columns.get("system", "system")
    system = value.get(column)
    if isinstance(system, str) and system.strip() and messages[0].role != "system":
        return (Message(role="system", content=sound(system, column)), *messages)
    return messages


def _pair(value: Mapping[str, Any], decision: ShapeDecision) -> tuple[Message, ...]:
    columns = decision.columns
    prompt = text_of(value_at(value, columns["prompt"]), columns["prompt"])
    context = value_at(value, columns["context"]) if "context" in columns else None
    if isinstance(context, str) and context.strip():
        prompt = f"{prompt}\n\n{sound(context, columns['context'])}"
    answer = text_of(
        value_at(value, columns["completion"]), columns["completion"], numbers=decision.shape == "classification"
    )
    history = pair_turns(value_at(value, columns["history"]), columns["history"]) if "history" in columns else ()
    turns = (*history, Message(role="user", content=prompt), Message(role="assistant", content=answer))
    return _with_system(value, decision, turns) if "system" in columns else turns


def has_damaged_name(value: Mapping[str, Any]) -> bool:
    """Whether the name of a field cannot be written as UTF-8: such a record says nothing about the shape of a file."""
    return is_damaged("".join(map(str, value)))


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
