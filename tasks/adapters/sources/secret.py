"""Secrets of sources come from environment variables that the configuration names."""

from __future__ import annotations

import json
import os
from typing import Any

from tasks.errors import UsageError


def secret(variable: str) -> str:
    """Value of the variable; empty where the source names none."""
    if not variable:
        return ""
    value = os.environ.get(variable, "")
    if not value:
        raise UsageError(
            "the secret of a source is not set",
            where=variable,
            why="data.sources[].credentials names this environment variable",
            remedy=f"set {variable} where Tuneloop runs",
        )
    return value


def secret_object(variable: str) -> dict[str, Any]:
    """The variable's JSON object; empty where the source names none."""
    text = secret(variable)
    try:
        value = json.loads(text or "{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UsageError(
            "the secret of a source is no JSON object",
            where=variable,
            remedy="the variable has to hold a JSON object with the options of the store or the service account",
        )
    return value
