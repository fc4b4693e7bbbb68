"""The names that columns go by, and what a decision about the shape of rows says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tasks.ingest.config import Shape

PAIRS = (
    ("prompt", "completion"), ("prompt", "response"), ("prompt", "answer"), ("prompt", "output"),
    ("question", "answer"), ("question", "response"), ("query", "response"), ("query", "answer"),
    ("instruction", "response"), ("instruction", "answer"), ("instruction", "completion"), ("input", "output"),
    ("input", "target"), ("message", "reply"), ("message", "answer"), ("message", "response"), ("user", "assistant"),
    ("customer", "agent"), ("request", "response"), ("source", "target"), ("context", "response"),
)  # fmt: skip
TEXTS = (
    "text", "message", "question", "utterance", "sentence", "query", "prompt", "input", "body", "content", "comment",
    "review", "description", "request", "email", "ticket", "document",
)  # fmt: skip
LABELS = (
    "label", "category", "class", "intent", "tag", "topic", "sentiment", "target", "department", "queue", "label_text",
    "intent_type",
)  # fmt: skip
METADATA = {
    "agent": ("agent", "agent_id", "agent_name", "handled_by"),
    "conversation_id": (
        "conversation_id",
        "thread_id",
        "thread",
        "ticket_id",
        "session_id",
        "dialog_id",
        "dialogue_id",
    ),
    "timestamp": ("timestamp", "created_at", "created", "date", "datetime", "time"),
    "rating": ("rating", "score", "stars", "csat", "feedback"),
    "language": ("language", "lang", "locale"),
    "author": ("author", "author_id", "user_id", "customer_id", "created_by"),
    "access_tag": ("access_tag", "access"),
    "content_type": ("content_type",),
    "intent_type": ("intent_type",),
    "channel": ("channel",),
    "id": ("id", "uuid", "row_id"),
}
SYSTEMS = ("system", "system_prompt", "system_message")
TOOLS = ("tools", "functions")
HISTORY = ("history",)
CONTEXT = "context"  # what a question is about, as in Dolly and SQuAD; beside one of these it is no prompt itself
ASKED = ("instruction", "question")
VERDICT_LABELS = ("label", "kto_tag")  # of one answer, in the unpaired form of KTO
TURN_LISTS = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns", "chat", "data")
ROLE_KEYS = ("role", "from", "speaker", "sender")
TEXT_KEYS = ("content", "value", "text", "message")
ANSWERS = (
    ("chosen", "rejected"), ("chosen_response", "rejected_response"), ("response_chosen", "response_rejected"),
    ("preferred", "dispreferred"), ("preferred", "rejected"), ("preferred_output", "non_preferred_output"),
    ("accepted", "rejected"), ("response_j", "response_k"), ("answer_chosen", "answer_rejected"),
    ("better_response", "worse_response"), ("good_answer", "bad_answer"),
)  # fmt: skip
TWO_ANSWERS = tuple(
    (f"{stem}_{one}", f"{stem}_{other}")
    for stem in ("response", "answer", "completion", "output")
    for one, other in (("a", "b"), ("0", "1"), ("1", "2"))
)
VERDICTS = (
    "better", "preferred", "preference", "winner", "choice", "better_response", "better_response_id", "chosen",
    "chosen_index", "best", "label",
)  # fmt: skip
PREFERENCE_PROMPTS = ("prompt", "question", "query", "instruction", "input", "user", "request", "context")
ROLES = (
    "prompt", "completion", "system", "context", "messages", "chosen", "rejected", "verdict", "tools", "history",
)  # fmt: skip
Columns = Mapping[str, str]


@dataclass(frozen=True)
class ShapeDecision:
    """How the records of a file become messages.

    Attributes:
        columns: role → column. prompt, completion, system, context, history; messages for lists of turns; chosen,
            rejected and, where two answers stand beside each other, verdict; tools.
        metadata: name → column.
        turn_keys: the keys of a turn that hold its role and its text; empty where turns are plain texts that alternate.
        first_answer, second_answer: what the verdict column says for each of two answers, in lower case.
    """

    shape: Shape
    reasons: tuple[str, ...]
    columns: Columns = field(default_factory=dict)
    metadata: Columns = field(default_factory=dict)
    turn_keys: tuple[str, ...] = ("role", "content")
    first_answer: tuple[str, ...] = ()
    second_answer: tuple[str, ...] = ()


def by_lower_name(seen: set[str]) -> dict[str, str]:
    """Column names as they are looked up → as they are written."""
    return {name.strip().lower().replace(" ", "_").replace("-", "_"): name for name in sorted(seen)}


def value_at(value: Mapping[str, object], column: str) -> object:
    """The value of a column; a dot leads into an object where no column has the whole name."""
    if column in value:
        return value[column]
    outer, dot, inner = column.partition(".")
    below = value.get(outer) if dot else None
    return value_at(below, inner) if isinstance(below, Mapping) else None
