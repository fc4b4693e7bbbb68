"""What shape the rows of a file have: detected from the names of their columns, with reasons.

Pure: the same records and settings always give the same decision. What fits two shapes equally well is not guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from tasks.errors import UsageError
from tasks.ingest.config import Shape
from tasks.ingest.shape_columns import (
    ASKED,
    CONTEXT,
    HISTORY,
    LABELS,
    METADATA,
    PAIRS,
    ROLES,
    SYSTEMS,
    TEXTS,
    TOOLS,
    Columns,
    ShapeDecision,
    by_lower_name,
    value_at,
)
from tasks.ingest.shape_preference import preferences, refuse_verdicts
from tasks.ingest.shape_turns import conversations

__all__ = ["ShapeDecision", "describe_mapping", "detect"]
_SEEN_SHARE = 0.5  # a column counts as there if at least this share of the records has it
_SHORT_LABEL = 40  # longest mean length, in characters, of a column that is taken for labels by its values


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
        candidates = _candidates(values, seen, overrides, shape, where)
        found = _pick(candidates, shape, seen, where)
        refuse_verdicts(values, found, overrides, where)
    columns = {**found.columns, **{k: v for k, v in overrides.items() if k in ROLES}}
    columns |= _more_roles(found, columns, present, values)
    metadata = _metadata(columns, present, overrides)
    used = {name.partition(".")[0] for name in (*columns.values(), *metadata.values())}
    unused = sorted(present - used - {"messages", "conversations", "metadata"})
    reasons = (*found.reasons, f"columns not used: {', '.join(unused)}") if unused else found.reasons
    return replace(found, reasons=reasons, columns=columns, metadata=metadata)


def describe_mapping(decision: ShapeDecision) -> str:
    """Which column is taken for what, e.g. `prompt ← question, completion ← answer; metadata: rating ← stars`."""
    default = {"chat": {"messages": "messages"}, "sharegpt": {"messages": "conversations"}}.get(decision.shape, {})
    columns = {role: column for role, column in {**default, **decision.columns}.items() if column}
    shown = ", ".join(f"{role} ← {column}" for role, column in columns.items())
    metadata = ", ".join(f"{name} ← {column}" for name, column in sorted(decision.metadata.items()))
    return "; ".join(text for text in (shown, f"metadata: {metadata}" if metadata else "") if text)


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


def _candidates(
    values: Sequence[object], seen: set[str], overrides: Columns, shape: Shape, where: str
) -> list[ShapeDecision]:
    """Every shape that fits, the surest first."""
    lower = by_lower_name(seen)
    pairs = preferences(values, seen, overrides, where) if shape in ("auto", "preference") else []
    found = [] if pairs else conversations(values, seen, overrides)
    if {"instruction", "output"} <= lower.keys():
        columns = {"prompt": lower["instruction"], "completion": lower["output"]}
        columns |= {"context": lower["input"]} if "input" in lower else _context(values, lower, "instruction", {})
        found.append(ShapeDecision("alpaca", ("rows have 'instruction' and 'output'",), columns))
    else:
        found += _pairs(values, lower, overrides)
    if pairs:
        return pairs + found
    found += _labelled(lower, overrides, found)
    return found or _by_values(values, seen, where)


def _pairs(values: Sequence[object], lower: Columns, overrides: Columns) -> list[ShapeDecision]:
    names = [(p, c) for p, c in PAIRS if p in lower and c in lower]
    if any(p in ASKED for p, _ in names) and overrides.get("prompt") != lower.get(CONTEXT, ""):
        names = [(p, c) for p, c in names if p != CONTEXT]
    found = [
        ShapeDecision("prompt_completion", (f"rows have '{lower[p]}' and '{lower[c]}'",),
                      {"prompt": lower[p], "completion": lower[c], **_context(values, lower, p, overrides)})
        for p, c in names
    ]  # fmt: skip
    return [d for d in found if _agrees(d, overrides)]


def _context(values: Sequence[object], lower: Columns, prompt: str, overrides: Columns) -> dict[str, str]:
    """The column with what a question is about; only text can be added to a prompt."""
    if prompt not in ASKED or CONTEXT not in lower or lower[CONTEXT] in overrides.values() or CONTEXT in overrides:
        return {}
    texts = [v.get(lower[CONTEXT]) for v in values if isinstance(v, dict)]
    return {CONTEXT: lower[CONTEXT]} if all(t is None or isinstance(t, str) for t in texts) else {}


def _labelled(lower: Columns, overrides: Columns, others: list[ShapeDecision]) -> list[ShapeDecision]:
    """Text with a label. Where the text is the prompt of a pair, the label is only more about the same row."""
    prompts = {d.columns.get("prompt") for d in others}
    texts = [lower[t] for t in TEXTS if t in lower] if "prompt" not in overrides else [overrides["prompt"]]
    names = [t for t in LABELS if t in lower and not (t == "label" and "label_text" in lower)]  # a number and its name
    labels = [lower[t] for t in names] if "completion" not in overrides else [overrides["completion"]]
    found = [
        ShapeDecision("classification", (f"'{t}' is text and '{label}' its label",), {"prompt": t, "completion": label})
        for t in texts if t not in prompts for label in labels if label != t
    ]  # fmt: skip
    return [] if any(d.shape in ("chat", "sharegpt") for d in others) else found


def _agrees(decision: ShapeDecision, overrides: Columns) -> bool:
    return all(overrides.get(role, decision.columns[role]) == decision.columns[role] for role in decision.columns)


def _by_values(values: Sequence[object], seen: set[str], where: str) -> list[ShapeDecision]:
    """Two columns of unknown names: one of few short values that repeat, one of texts that do not.

    Raises:
        UsageError: the column of labels is called like one of them, as the first row of a table without a header is.
    """
    rows = [v for v in values if isinstance(v, dict) and seen <= set(v)]
    if len(seen) != 2 or len(rows) < 10:
        return []
    distinct = {c: len({str(r[c]) for r in rows}) / len(rows) for c in seen}
    label, text = sorted(seen, key=lambda c: distinct[c])
    mean = sum(len(str(r[label])) for r in rows) / len(rows)
    if distinct[label] > 0.5 or distinct[text] < 0.8 or mean > _SHORT_LABEL:
        return []
    if label.strip().casefold() in {str(r[label]).strip().casefold() for r in rows}:
        raise UsageError(
            "the table seems to have no header: its first line looks like a row",
            where=where,
            why=f"the column '{label}' holds '{label}' as a value too",
            remedy="put names above the columns, e.g. text and label; where they are names, "
            "data.sources[].columns: {prompt: <column>, completion: <column>}",
        )
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


def _more_roles(found: ShapeDecision, columns: Columns, seen: set[str], values: Sequence[object]) -> dict[str, str]:
    """Columns that every shape but the labelled texts may have: system text, tools, earlier turns."""
    if found.shape == "classification":
        return {}
    lower = by_lower_name(seen - set(columns.values()))
    roles = {"system": SYSTEMS, "tools": TOOLS, "history": HISTORY if found.shape == "alpaca" else ()}
    more = {
        role: next(lower[name] for name in names if name in lower)
        for role, names in roles.items() if role not in columns and any(name in lower for name in names)
    }  # fmt: skip
    outer = columns.get("messages", "").rpartition(".")[0]
    if outer and "tools" not in {**columns, **more} and _has(values, f"{outer}.tools"):
        more["tools"] = f"{outer}.tools"  # as in OpenAI's preference pairs: turns and tools are parts of one object
    return more


def _has(values: Sequence[object], column: str) -> bool:
    return any(isinstance(v, dict) and value_at(v, column) for v in values)


def _metadata(columns: Columns, seen: set[str], overrides: Columns) -> dict[str, str]:
    lower = by_lower_name(seen - set(columns.values()))
    known = {
        name: next(lower[s] for s in synonyms if s in lower)
        for name, synonyms in METADATA.items() if any(s in lower for s in synonyms)
    }  # fmt: skip
    return known | {k: v for k, v in overrides.items() if k not in ROLES}
