"""What a sampled answer is worth: compared with the reference answer, by rules alone. Pure."""

from __future__ import annotations

import json
from typing import Any

_FORM_SHARE = 0.2  # of the reward of a structured answer: that it can be read at all


def reward(answer: str, reference: str, *, ended: bool) -> float:
    """Between 0 and 1. Structured references (a JSON object): readable form and share of right fields.

    Other references: 1 for the same words, else 0. An answer that was cut off before its end is worth nothing.
    """
    if not ended:
        return 0.0
    wanted = _object(reference)
    if wanted is None:
        return float(answer.split() == reference.split())
    given = _object(answer)
    if given is None:
        return 0.0
    right = len([name for name, value in wanted.items() if name in given and given[name] == value])
    extra = len(given.keys() - wanted.keys())
    return _FORM_SHARE + (1 - _FORM_SHARE) * right / max(1, len(wanted) + extra)


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
