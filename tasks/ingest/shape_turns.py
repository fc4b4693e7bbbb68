"""Which column of a record is a conversation, and how its turns are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tasks.ingest.shape_columns import ROLE_KEYS, TEXT_KEYS, TURN_LISTS, Columns, ShapeDecision, value_at

_LOOKED_AT = 50
_PLAIN = ("data", "conversation", "dialogue", "dialog", "turns")
_BY_NAME = {"messages": ("chat", ("role", "content")), "conversations": ("sharegpt", ("from", "value"))}


def conversations(values: Sequence[object], seen: set[str], overrides: Columns) -> list[ShapeDecision]:
    """Shapes of lists of turns, one for each column that is one."""
    wanted = [overrides["messages"]] if "messages" in overrides else list(_paths(values, seen))
    found = [decision for column in wanted if (decision := _decide(values, column)) is not None]
    if len(found) > 1 and any(d.columns.get("messages", "messages") in _BY_NAME for d in found):
        return [d for d in found if d.columns.get("messages", "messages") in _BY_NAME]
    return found


def _paths(values: Sequence[object], seen: set[str]) -> Iterator[str]:
    """Columns, and columns of an object in a column, that may be conversations."""
    for name in TURN_LISTS:
        if name in seen:
            yield name
    for outer in ("conversation", "data", "input", "body", "request"):
        inner = next((v[outer] for v in values if isinstance(v, dict) and v.get(outer)), None)
        if isinstance(inner, dict):
            yield from (f"{outer}.{name}" for name in ("messages", "conversations", "turns") if name in inner)


def _decide(values: Sequence[object], column: str) -> ShapeDecision | None:
    keys = turn_keys(values, column)
    default = _BY_NAME.get(column)
    if keys is None and default is None:
        return None
    shape, usual = default or ("chat", ("role", "content"))
    keys = usual if keys is None else keys
    shape = "sharegpt" if keys == ("from", "value") else "chat"
    made = ShapeDecision(shape, (f"rows have a list '{column}'",), turn_keys=keys)  # type: ignore[arg-type]
    return made if default and shape == default[0] else replace(made, columns={"messages": column})


def turn_keys(values: Sequence[object], column: str) -> tuple[str, ...] | None:
    """Keys of a turn's role and text; empty for plain texts that alternate; None where the column holds no turns."""
    for turn in _turns(values, column):
        if isinstance(turn, str):
            return () if column.rpartition(".")[2] in _PLAIN else None
        if isinstance(turn, Mapping):
            role = next((k for k in ROLE_KEYS if k in turn), None)
            text = next((k for k in TEXT_KEYS if k in turn), None)
            if role and (text or "tool_calls" in turn):
                return role, text or "content"
    return None


def _turns(values: Sequence[object], column: str) -> Iterator[object]:
    looked = 0
    for value in values:
        found = value_at(value, column) if isinstance(value, Mapping) else None
        if isinstance(found, Mapping):
            found = [found]
        if isinstance(found, list) and found:
            yield from found[:4]
            looked += 1
        if looked >= _LOOKED_AT:
            return
