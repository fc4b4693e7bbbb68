"""The frames that the rules look at: one line for each row, and one line of totals."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from tasks.contracts import Message, Row, RowCounts

_PLACEHOLDER = re.compile(r"<(?:EMAIL_ADDRESS|PHONE_NUMBER|CREDIT_CARD|IBAN_CODE|IP_ADDRESS)>")
_WORD = re.compile(r"\S+")
CountTokens = Callable[[Sequence[Message]], int]
Columns = dict[str, list[Any]]


def row_columns(rows: Sequence[Row], count_tokens: CountTokens) -> Columns:
    """Columns row_id, prompt, answer, text, roles (each followed by a blank), tokens, placeholder_share (0..1)."""
    return {
        "row_id": [row.row_id for row in rows],
        "prompt": ["\n".join(m.content for m in row.prompt if m.role != "system") for row in rows],
        "answer": [row.answer for row in rows],
        "text": ["\n".join(m.content for m in row.messages) for row in rows],
        "roles": ["".join(f"{m.role} " for m in row.messages) for row in rows],
        "tokens": [_tokens(row, count_tokens) for row in rows],
        "placeholder_share": [_placeholder_share(row) for row in rows],
    }


def _tokens(row: Row, count_tokens: CountTokens) -> int:
    """Length in tokens; 0 for rows that break the rule about roles, which many chat templates refuse to write."""
    roles = [m.role for m in row.messages if m.role != "system"]
    sound = len(roles) >= 2 and roles == ["user", "assistant"] * (len(roles) // 2)
    return count_tokens(row.messages) if sound else 0


def totals_columns(counts: RowCounts) -> Columns:
    """Columns rows_in, accounted_for, quarantined_share (0..1); one line."""
    return {
        "rows_in": [counts.rows_in],
        "accounted_for": [counts.kept + counts.merged + counts.quarantined],
        "quarantined_share": [counts.quarantined / max(1, counts.rows_in)],
    }


def _placeholder_share(row: Row) -> float:
    text = " ".join(m.content for m in row.messages)
    return len(_PLACEHOLDER.findall(text)) / max(1, len(_WORD.findall(text)))
