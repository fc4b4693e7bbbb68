"""What shape the rows of a file have: detected from the names of their columns, with reasons.

Pure: the same records and settings always give the same decision. What fits two shapes equally well is not guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tasks.errors import UsageError
from tasks.ingest.config import Shape

PAIRS = (
    ("prompt", "completion"), ("prompt", "response"), ("prompt", "answer"), ("prompt", "output"),
    ("question", "answer"), ("question", "response"), ("query", "response"), ("query", "answer"),
    ("instruction", "response"), ("instruction", "answer"), ("input", "output"), ("input", "target"),
    ("message", "reply"), ("message", "answer"), ("message", "response"), ("user", "assistant"),
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
SYSTEMS = ("system", "system_prompt")
ROLES = ("prompt", "completion", "system")
_SEEN_SHARE = 0.5  # a column counts as there if at least this share of the records has it
_SHORT_LABEL = 40  # longest mean length, in characters, of a column that is taken for labels by its values
Columns = Mapping[str, str]


@dataclass(frozen=True)
class ShapeDecision:
    """How the records of a file become messages.

    `columns` maps prompt, completion, system (alpaca also: context) to column names; `metadata` maps names to columns.
    """

    shape: Shape
    reasons: tuple[str, ...]
    columns: Columns = field(default_factory=dict)
    metadata: Columns = field(default_factory=dict)


def detect(values: Sequence[object], shape: Shape, overrides: Columns, where: str) -> ShapeDecision:
    """Decide how to read the records of one file.

    Raises:
        UsageError: ambiguous or unknown columns, or a configured shape or column that the file does not have.
    """
    seen, present = _columns(values, _SEEN_SHARE), _columns(values, 0)
    _check_overrides(overrides, present, where)
    chosen = overrides.get("prompt"), overrides.get("completion")
    if all(chosen) and shape in ("auto", "prompt_completion", "classification"):
        name: Shape = "prompt_completion" if shape == "auto" else shape
        found = ShapeDecision(name, ("the columns are configured",), {"prompt": chosen[0], "completion": chosen[1]})  # type: ignore[dict-item]
    else:
        candidates = _candidates(values, seen, overrides)
        found = _pick(candidates, shape, seen, where)
    columns = {**found.columns, **{k: v for k, v in overrides.items() if k in ROLES}}
    columns |= _system(found, columns, present)
    metadata = _metadata(columns, present, overrides)
    unused = sorted(
        present - set(columns.values()) - set(metadata.values()) - {"messages", "conversations", "metadata"}
    )
    reasons = (*found.reasons, f"columns not used: {', '.join(unused)}") if unused else found.reasons
    return ShapeDecision(found.shape, reasons, columns, metadata)


def _columns(values: Sequence[object], share: float) -> set[str]:
    """Columns that at least this share of the readable records has."""
    rows = [v for v in values if isinstance(v, dict)]
    counts = Counter(str(k) for row in rows for k in row)
    return {name for name, count in counts.items() if count >= share * len(rows)}


def _check_overrides(overrides: Columns, seen: set[str], where: str) -> None:
    missing = sorted(set(overrides.values()) - seen)
    if missing:
        raise UsageError(
            f"the file has no column {', '.join(map(repr, missing))}",
            where=where,
            why=f"its columns are {', '.join(sorted(seen)) or 'none'}",
            remedy="correct data.sources[].columns",
        )


def _candidates(values: Sequence[object], seen: set[str], overrides: Columns) -> list[ShapeDecision]:
    """Every shape that fits, the surest first."""
    lower = _by_lower_name(seen)
    found = []
    for shape, column in (("chat", "messages"), ("sharegpt", "conversations")):
        if column in seen:
            found.append(ShapeDecision(shape, (f"rows have a list '{column}'",)))  # type: ignore[arg-type]
    if {"instruction", "output"} <= lower.keys():
        columns = {"prompt": lower["instruction"], "completion": lower["output"]}
        columns |= {"context": lower["input"]} if "input" in lower else {}
        found.append(ShapeDecision("alpaca", ("rows have 'instruction' and 'output'",), columns))
    else:
        found += _pairs(lower, overrides)
    found += _labelled(lower, overrides, found)
    return found or _by_values(values, seen)


def _by_lower_name(seen: set[str]) -> dict[str, str]:
    return {name.strip().lower().replace(" ", "_").replace("-", "_"): name for name in sorted(seen)}


def _pairs(lower: Columns, overrides: Columns) -> list[ShapeDecision]:
    found = [
        ShapeDecision("prompt_completion", (f"rows have '{lower[p]}' and '{lower[c]}'",),
                      {"prompt": lower[p], "completion": lower[c]})
        for p, c in PAIRS if p in lower and c in lower
    ]  # fmt: skip
    return [d for d in found if _agrees(d, overrides)]


def _labelled(lower: Columns, overrides: Columns, others: list[ShapeDecision]) -> list[ShapeDecision]:
    """Text with a label. Where the text is the prompt of a pair, the label is only more about the same row."""
    prompts = {d.columns.get("prompt") for d in others}
    texts = [lower[t] for t in TEXTS if t in lower] if "prompt" not in overrides else [overrides["prompt"]]
    labels = [lower[t] for t in LABELS if t in lower] if "completion" not in overrides else [overrides["completion"]]
    found = [
        ShapeDecision("classification", (f"'{t}' is text and '{label}' its label",), {"prompt": t, "completion": label})
        for t in texts if t not in prompts for label in labels if label != t
    ]  # fmt: skip
    return [] if any(d.shape in ("chat", "sharegpt") for d in others) else found


def _agrees(decision: ShapeDecision, overrides: Columns) -> bool:
    return all(overrides.get(role, decision.columns[role]) == decision.columns[role] for role in decision.columns)


def _by_values(values: Sequence[object], seen: set[str]) -> list[ShapeDecision]:
    """Two columns of unknown names: one of few short values that repeat, one of texts that do not."""
    rows = [v for v in values if isinstance(v, dict) and seen <= set(v)]
    if len(seen) != 2 or len(rows) < 10:
        return []
    distinct = {c: len({str(r[c]) for r in rows}) / len(rows) for c in seen}
    label, text = sorted(seen, key=lambda c: distinct[c])
    mean = sum(len(str(r[label])) for r in rows) / len(rows)
    if distinct[label] > 0.5 or distinct[text] < 0.8 or mean > _SHORT_LABEL:
        return []
    why = f"'{label}' has few short values that repeat, '{text}' has texts that do not"
    return [ShapeDecision("classification", (why,), {"prompt": text, "completion": label})]


def _pick(found: list[ShapeDecision], shape: Shape, seen: set[str], where: str) -> ShapeDecision:
    fitting = [d for d in found if shape in ("auto", d.shape)]
    if len(fitting) == 1:
        return fitting[0]
    columns = ", ".join(sorted(seen)) or "none: no record could be read"
    if not fitting:
        raise UsageError(
            "the shape of the rows is not known" if shape == "auto" else f"the rows do not have the shape {shape}",
            where=where,
            why=f"the columns are {columns}",
            remedy="say which columns to use: data.sources[].columns: {prompt: <column>, completion: <column>}",
        )
    choices = "; ".join(f"{d.shape} ({d.reasons[0]})" for d in fitting)
    raise UsageError(
        "the rows fit more than one shape",
        where=where,
        why=f"choices: {choices}",
        remedy="set data.sources[].shape, or data.sources[].columns: {prompt: <column>, completion: <column>}",
    )


def _system(found: ShapeDecision, columns: Columns, seen: set[str]) -> dict[str, str]:
    if "system" in columns or found.shape == "classification":
        return {}
    lower = _by_lower_name(seen - set(columns.values()))
    return next(({"system": lower[name]} for name in SYSTEMS if name in lower), {})


def _metadata(columns: Columns, seen: set[str], overrides: Columns) -> dict[str, str]:
    lower = _by_lower_name(seen - set(columns.values()))
    known = {
        name: next(lower[s] for s in synonyms if s in lower)
        for name, synonyms in METADATA.items() if any(s in lower for s in synonyms)
    }  # fmt: skip
    return known | {k: v for k, v in overrides.items() if k not in ROLES}
