"""What people write as a value: YAML text, and `--set a.b=c`."""

from __future__ import annotations

from typing import Any

import yaml

from tasks.errors import UsageError

Address = tuple[str | int, ...]

# PyYAML lets errors of Python's own through for a value that is none of its kind: `2026-13-01`, `!!bool maybe`, `[[[…`.
NOT_YAML = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError)
_INDEX_DIGITS = 9


def problem(error: Exception) -> str:
    """What is wrong with a text that is not YAML."""
    return getattr(error, "problem", None) or f"{type(error).__name__}: {error}"


def override(values: dict[str, Any], text: str) -> Address:
    """Apply `a.b=c` to the values of a configuration; returns the address of what was set.

    Raises:
        UsageError: it cannot be read, or leads through something that is no section.
    """
    name, found, raw = text.partition("=")
    if not found or not name:
        raise UsageError("`--set` needs NAME=VALUE", where=f"--set {text}", remedy="e.g. --set train.epochs=1")
    keys = name.strip().split(".")
    place: Any = values
    for number, key in enumerate(keys[:-1]):
        place = _below(place, key, name, ".".join(keys[:number]))
    last = _entry(place, keys[-1], name, ".".join(keys[:-1])) if isinstance(place, list) else keys[-1]
    place[last] = _value(raw, name)
    return tuple(int(k) if _is_index(k) else k for k in keys)


def _below(place: Any, key: str, name: str, address: str) -> Any:
    """The section or list that a key of a section or list holds; a section that is missing or empty is made."""
    index = _entry(place, key, name, address) if isinstance(place, list) else key
    if isinstance(place, dict) and place.get(key) is None:
        place[key] = {}
    if not isinstance(place[index], dict | list):
        raise UsageError(
            f"`{key}` is a value, not a section",
            where=f"--set {name}",
            why="a name on the left of a point is a section, or a list",
            remedy="`tuneloop config show` lists every name",
        )
    return place[index]


def _entry(place: list[Any], key: str, name: str, address: str) -> int:
    """Which entry of a list a key names."""
    if _is_index(key) and int(key) < len(place):
        return int(key)
    numbers = {0: "no entry", 1: "one entry, number 0"}.get(len(place), f"entries 0 to {len(place) - 1}")
    raise UsageError(
        f"`{address}` has no entry `{key}`",
        where=f"--set {name}",
        why=f"it is a list with {numbers}",
        remedy="give the number of an entry that is there; entries are added in the file",
    )


def _is_index(key: str) -> bool:
    return key.isascii() and key.isdecimal() and len(key) <= _INDEX_DIGITS


def _value(raw: str, name: str) -> Any:
    try:
        return yaml.safe_load(raw)
    except NOT_YAML as error:
        raise UsageError(
            "the value cannot be read",
            where=f"--set {name}",
            why=f"values are YAML: {problem(error)}",
            remedy=f"put text with special characters in quotes: --set '{name}=\"...\"'",
        ) from error
