"""From the turns of a conversation, as several formats write them, to messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.contracts import Message, ToolCall
from tasks.ingest.text import is_damaged

_ROLES = {
    "system": "system", "developer": "system", "user": "user", "human": "user", "customer": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool", "tool_response": "tool",
    "function_call": "assistant", "tool_call": "assistant",
}  # fmt: skip
_CALLING_ROLES = ("function_call", "tool_call")


class NotARow(Exception):
    """A record that cannot become a row: reason code, plain words, proposed repair. Never leaves this stage."""

    def __init__(self, code: str, words: str, repair: str = "") -> None:
        super().__init__(code, words)
        self.code, self.words, self.repair = code, words, repair


@dataclass(frozen=True, slots=True)
class Converted:
    """A record in the chat form; `rejected` is the answer of a preference pair that was not chosen."""

    messages: tuple[Message, ...]
    rejected: str = ""
    tools: str = ""


def turns_of(turns: object, column: str, keys: tuple[str, ...]) -> tuple[Message, ...]:
    """Messages of a list of turns.

    Args:
        keys: of a turn's role and text; empty where turns are plain texts of user and assistant in turn.
    """
    if turns is None:
        raise NotARow("missing_field", f"has no '{column}'")
    if isinstance(turns, str):
        turns = _parsed(turns, column)
    if not isinstance(turns, list):
        raise NotARow("not_text", f"'{column}' is {kind_of(turns)}, not a list")
    if not turns:
        raise NotARow("empty", f"'{column}' is empty")
    if not keys:
        roles = ("user", "assistant")
        return tuple(Message(role=roles[i % 2], content=text_of(t, column)) for i, t in enumerate(turns))  # type: ignore[arg-type]
    return tuple(turn_of(turn, *keys) for turn in turns)


def _parsed(text: str, column: str) -> object:
    """A list of turns that stands in a cell of a table as JSON text."""
    if not text.lstrip().startswith("["):
        raise NotARow("not_text", f"'{column}' is text, not a list")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise NotARow("broken_json", f"'{column}' is text, but not a JSON list") from None


def turn_of(turn: object, role_key: str, text_key: str) -> Message:
    """One turn as a message."""
    if not isinstance(turn, Mapping):
        raise NotARow("not_an_object", f"a turn is {kind_of(turn)}, not an object")
    role = turn.get(role_key)
    if role is None:
        raise NotARow("missing_field", f"a turn has no '{role_key}'")
    if not isinstance(role, str) or role.lower() not in _ROLES:
        raise NotARow("unknown_role", f"a turn's '{role_key}' is none of {', '.join(_ROLES)}")
    name, text = _ROLES[role.lower()], _joined(turn.get(text_key))
    if role.lower() in _CALLING_ROLES:
        return Message(role="assistant", content="", tool_calls=_calls_in_text(text))
    if name == "tool":
        return _tool_turn(turn, text, text_key)
    calls = _calls(turn) if name == "assistant" else ()
    if calls and (text is None or text == ""):
        return Message(role="assistant", content="", tool_calls=calls)
    return Message(role=name, content=text_of(text, text_key), tool_calls=calls)  # type: ignore[arg-type]


def _tool_turn(turn: Mapping[str, Any], text: object, text_key: str) -> Message:
    if isinstance(text, dict | list):
        text = _json(text)
    content = "" if text is None or text == "" else sound(text_of(text, text_key), text_key)
    called, name = turn.get("tool_call_id"), turn.get("name")
    return Message(
        role="tool",
        content=content,
        tool_call_id=sound(called, "tool_call_id") if isinstance(called, str) else "",
        name=sound(name, "name") if isinstance(name, str) else "",
    )


def _joined(parts: object) -> object:
    """The text of a content that is a list of text parts, as the OpenAI API allows."""
    if isinstance(parts, list) and parts and all(isinstance(p, dict) and p.get("type") == "text" for p in parts):
        return "".join(str(p.get("text", "")) for p in parts)
    return parts


def _calls(turn: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    """Calls that an assistant turn makes, in the present form and in the one before it."""
    calls, legacy = turn.get("tool_calls"), turn.get("function_call")
    if isinstance(calls, list):
        return tuple(_call(call) for call in calls)
    return (_call(legacy),) if isinstance(legacy, Mapping) else ()


def _calls_in_text(text: object) -> tuple[ToolCall, ...]:
    """The call, or the list of calls, that the text of a ShareGPT turn is."""
    found: object = text
    if isinstance(text, str):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise NotARow("broken_json", "a turn that calls a function is not valid JSON") from None
    calls = tuple(_call(call) for call in (found if isinstance(found, list) else [found]))
    if not calls:
        raise NotARow("empty", "a turn that calls a function calls none")
    return calls


def _call(call: object) -> ToolCall:
    inner = call.get("function", call) if isinstance(call, Mapping) else call
    if not isinstance(call, Mapping) or not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise NotARow("missing_field", "a call of a tool has no function with a name")
    arguments, name = inner.get("arguments", inner.get("parameters")), inner["name"]
    text = arguments if isinstance(arguments, str) else _json({} if arguments is None else arguments)
    identity = call.get("id")
    return ToolCall(
        id=sound(identity, "id") if isinstance(identity, str) else "",
        name=sound(name, "name"),
        arguments=sound(text, "arguments"),
    )


def tools_of(tools: object) -> str:
    """Definitions of tools as JSON text; functions of the older form are wrapped into the present one."""
    if isinstance(tools, str) and tools.strip():
        try:
            tools = json.loads(tools)
        except (ValueError, RecursionError):
            raise NotARow("broken_json", "the definitions of the tools are not valid JSON") from None
    if not tools:
        return ""
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise NotARow("not_text", f"the definitions of the tools are {kind_of(tools)}, not a list of objects")
    present = [t if "function" in t else {"type": "function", "function": t} for t in tools]
    return sound(_json(present), "tools")


def pair_turns(history: object, column: str) -> tuple[Message, ...]:
    """Earlier turns that are written as pairs of a message and its answer."""
    if history is None or history in ("", []):
        return ()
    if isinstance(history, str):
        history = _parsed(history, column)
    if not isinstance(history, list) or not all(isinstance(p, list | tuple) and len(p) == 2 for p in history):
        raise NotARow("not_text", f"'{column}' is no list of pairs of a message and its answer")
    texts = [text_of(text, column) for pair in history for text in pair]
    return tuple(Message(role="assistant" if i % 2 else "user", content=t) for i, t in enumerate(texts))


def text_of(found: object, name: str, *, numbers: bool = False) -> str:
    """Text of a field that has to have some."""
    if found is None:
        raise NotARow("missing_field", f"has no '{name}'")
    if numbers and isinstance(found, (int, bool)):
        found = json.dumps(found)
    if not isinstance(found, str):
        raise NotARow("not_text", f"'{name}' is {kind_of(found)}, not text")
    if not found.strip():
        raise NotARow("empty", f"'{name}' is empty")
    return sound(found, name)


def sound(text: str, name: str) -> str:
    """The text, which may not hold what cannot be written."""
    if is_damaged(text):
        raise NotARow("invalid_utf8", f"'{name}' holds half a surrogate pair, which is no character")
    return text


def kind_of(value: object) -> str:
    """What a value is, in words."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number",
             bytes: "bytes"}  # fmt: skip
    return names.get(type(value), "null")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
