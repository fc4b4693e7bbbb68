"""Whether rows are preference pairs: one prompt, an answer that was chosen and one that was not."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.errors import UsageError
from tasks.ingest.shape_columns import (
    ANSWERS,
    PREFERENCE_PROMPTS,
    TURN_LISTS,
    TWO_ANSWERS,
    VERDICT_LABELS,
    VERDICTS,
    Columns,
    ShapeDecision,
    by_lower_name,
)
from tasks.ingest.shape_turns import turn_keys


def preferences(values: Sequence[object], seen: set[str], overrides: Columns, where: str) -> list[ShapeDecision]:
    """The preference shapes that fit.

    Raises:
        UsageError: the values of the verdict column could mean either answer.
    """
    if "verdict" in overrides and not {"chosen", "rejected"} <= overrides.keys():
        overrides = {k: v for k, v in overrides.items() if k not in ("chosen", "rejected")}
    lower = by_lower_name(seen)
    if {"chosen", "rejected"} <= overrides.keys():
        pairs = [(overrides["chosen"], overrides["rejected"])]
    else:
        pairs = [(lower[one], lower[other]) for one, other in ANSWERS if one in lower and other in lower]
    if pairs and "verdict" not in overrides:
        return [_explicit(values, lower, chosen, rejected, overrides) for chosen, rejected in pairs]
    beside = pairs or [(lower[one], lower[other]) for one, other in TWO_ANSWERS if one in lower and other in lower]
    verdict = overrides.get("verdict") or next((lower[v] for v in VERDICTS if v in lower), "")
    if not verdict:
        return []
    return [_judged(values, lower, pair, verdict, overrides, where) for pair in beside if verdict not in pair]


def refuse_verdicts(values: Sequence[object], found: ShapeDecision, overrides: Columns, where: str) -> None:
    """Refuse rows of one answer each with a verdict on it, of which the bad answers would be learned like the good.

    Raises:
        UsageError: a column says by true and false whether the answer beside it is a good one.
    """
    if found.shape in ("preference", "classification"):
        return
    rows = [v for v in values if isinstance(v, dict)]
    lower = by_lower_name({str(name) for row in rows for name in row})
    for name in (lower[n] for n in VERDICT_LABELS if n in lower):
        verdicts = {_truth(row.get(name)) for row in rows} - {None}
        named = name in found.columns.values() or name in overrides.values()
        if not named and verdicts and verdicts <= {"true", "false"}:
            raise UsageError(
                "the rows say of each answer whether it is a good one, and bad answers are not to be learned",
                where=where,
                why=f"the column '{name}' holds true and false, as unpaired rows for KTO do",
                remedy="give the rows with true without this column, or pairs of a good and a bad answer to the same "
                "prompt as prompt, chosen and rejected; to learn every answer all the same, keep the column as "
                f"metadata: data.sources[].columns: {{label: {name}}}",
            )


def _truth(value: object) -> str | None:
    """A verdict in words; None where there is none."""
    if value is None or value == "":
        return None
    return str(value).strip().lower() if isinstance(value, bool | str) else "other"


def _explicit(
    values: Sequence[object], lower: Columns, chosen: str, rejected: str, overrides: Columns
) -> ShapeDecision:
    columns = {**_prompt(values, lower, overrides, (chosen, rejected)), "chosen": chosen, "rejected": rejected}
    keys = turn_keys(values, columns.get("messages", chosen)) or turn_keys(values, chosen) or ("role", "content")
    return ShapeDecision("preference", (f"rows have '{chosen}' and '{rejected}'",), columns, turn_keys=keys)


def _judged(
    values: Sequence[object], lower: Columns, pair: tuple[str, str], verdict: str, overrides: Columns, where: str
) -> ShapeDecision:
    first, second = _meanings(values, pair, verdict, where)
    columns = {**_prompt(values, lower, overrides, (*pair, verdict)), "chosen": pair[0], "rejected": pair[1]}
    keys = turn_keys(values, columns.get("messages", "")) or ("role", "content")
    reason = f"rows have '{pair[0]}' and '{pair[1]}', and '{verdict}' says which is better"
    return ShapeDecision("preference", (reason,), {**columns, "verdict": verdict}, {}, keys, first, second)


def _prompt(values: Sequence[object], lower: Columns, overrides: Columns, taken: tuple[str, ...]) -> dict[str, str]:
    """The column with what both answers answer; none where the answers are whole conversations."""
    if "prompt" in overrides:
        return {"prompt": overrides["prompt"]}
    if "messages" in overrides:
        return {"messages": overrides["messages"]}
    if any(isinstance(v, dict) and isinstance(v.get("input"), dict) and "messages" in v["input"] for v in values):
        return {"messages": "input.messages"}
    for name in PREFERENCE_PROMPTS:
        if name in lower and lower[name] not in taken:
            return {"prompt": lower[name]}
    turns = next((lower[n] for n in TURN_LISTS if n in lower and turn_keys(values, lower[n])), "")
    return {"messages": turns} if turns else {}


def _meanings(
    values: Sequence[object], pair: tuple[str, str], verdict: str, where: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the verdict column says for the first answer and for the second."""
    first, second = _names(pair[0]), _names(pair[1])
    rows = [v for v in values if isinstance(v, dict)]
    numbers = {as_verdict(row.get(verdict)) for row in rows} & {"0", "1", "2"}
    if numbers <= {first[1], second[1]}:
        return first, second
    if "2" not in numbers:
        if "0" in numbers:
            return _numbered(first, "0"), _numbered(second, "1")
    elif "0" not in numbers:
        return _numbered(first, "1"), _numbered(second, "2")
    raise UsageError(
        f"it is not clear which answer the column '{verdict}' means",
        where=where,
        why=f"it holds numbers, the answers are '{pair[0]}' and '{pair[1]}'",
        remedy="write the name of the better column into it, or give columns chosen and rejected",
    )


def _names(column: str) -> tuple[str, ...]:
    """How a verdict may name an answer's column."""
    name = column.strip().lower()
    last = name.rpartition("_")[2]
    return (name, last, f"model_{last}", f"assistant_{last}")


def _numbered(names: tuple[str, ...], number: str) -> tuple[str, ...]:
    """Names with a number; a digit at the column's end is none of them then."""
    return (*(name for name in names if not name.isdigit()), number)


def as_verdict(value: object) -> str:
    """What a verdict column says, in lower case; numbers without a fraction."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip().lower() if isinstance(value, str | int) else ""
