"""What the answers of a dataset look like: JSON objects with structured fields, plain labels, or free text.

The form is found in the training answers only, so that nothing about the held-out rows leaks into a prompt or a metric.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, NoReturn

from pydantic import Field

from tasks.contracts import Record
from tasks.digest import canonical_json
from tasks.errors import UsageError

ANSWER = "answer"
_SAME_KEYS_SHARE = 0.95
_ROWS_PER_VALUE = 3
_MOST_VALUES = 500
_MOST_ATTEMPTS = 20


class AnswerForm(Record):
    """The form that answers are expected to have."""

    kind: Literal["json", "label", "text"]
    keys: tuple[str, ...] = Field((), description="Keys of the JSON object in their usual order; empty otherwise.")
    fields: tuple[str, ...] = Field((), description="What is compared for equality; `answer` is the whole answer.")
    text_fields: tuple[str, ...] = Field((), description="Keys with free text.")
    values: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Key → values seen in training; for keys that repeat."
    )


class Reading(NamedTuple):
    """One answer, read in the expected form. `values` lacks what could not be found."""

    values: dict[str, str]
    text: str
    valid: bool


def find_form(answers: Sequence[str], configured: tuple[str, ...] | None = None) -> AnswerForm:
    """The form of the training answers; `configured` names the structured fields instead of finding them.

    JSON: at least 95% of the answers are objects with the same keys. A field (or a whole answer) is structured when
    its values repeat: at least 3 rows per value on average and at most 500 values. Beside free text, fields that all
    have a single value are not compared: every answer in the right form would be right.

    Raises:
        UsageError: a configured field is not in the answers.
    """
    objects = [found for found in map(parse_object, answers) if found is not None]
    keys = _common_keys(objects, len(answers))
    if keys:
        return _json_form([o for o in objects if set(o) == set(keys)], keys, configured)
    return _plain_form(answers, configured)


def read_answer(answer: str, form: AnswerForm) -> Reading:
    """Read an answer as generously as is safe: a JSON object may stand in a code fence or between other words, or
    be cut off by the token limit, as a talkative base model's often is: its finished fields count.

    `valid` is strict: the answer is nothing but the expected form.
    """
    if form.kind != "json":
        text = answer.strip()
        values = {ANSWER: text} if form.fields else {}
        return Reading(values, text, text in form.values.get(ANSWER, ()) if form.fields else bool(text))
    strict = parse_object(answer)
    found = strict if strict is not None else _first_object(answer) or _cut_object(answer)
    if found is None:
        return Reading({}, "" if form.text_fields else answer.strip(), False)
    values = {key: as_text(found[key]) for key in form.fields if key in found}
    text = " ".join(as_text(found[key]) for key in form.text_fields if key in found)
    return Reading(
        values, text if form.text_fields else answer.strip(), strict is not None and set(found) == set(form.keys)
    )


def parse_object(text: str) -> dict[str, Any] | None:
    """The JSON object that the text is, or None."""
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def as_text(value: Any) -> str:
    """A JSON value as comparable text: strings without outer white space, everything else in canonical JSON."""
    text = value.strip() if isinstance(value, str) else canonical_json(value)
    return text.encode("utf-8", "replace").decode("utf-8")


def _first_object(text: str) -> dict[str, Any] | None:
    """The first JSON object inside a text; only the first 20 opening braces are tried, since texts can be hostile."""
    decoder, position = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite), -1
    for _ in range(_MOST_ATTEMPTS):
        position = text.find("{", position + 1)
        if position < 0:
            return None
        try:
            value, _end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return value
    return None


def _cut_object(text: str) -> dict[str, Any] | None:
    """The finished keys of an object that never ends: all before one of its last 20 commas."""
    start = text.find("{")
    end = len(text) if start >= 0 else 0
    for _ in range(_MOST_ATTEMPTS):
        end = text.rfind(",", start, end) if end else -1
        if end < 0:
            return None
        if (found := parse_object(text[start:end] + "}")) is not None:
            return found
    return None


def _refuse(number: str) -> NoReturn:
    raise ValueError(f"{number} is not a finite number")


def _finite(number: str) -> float:
    """The number, if a float can hold it: 1e999 would become infinity, which no JSON text can say."""
    value = float(number)
    return value if math.isfinite(value) else _refuse(number)


def _common_keys(objects: Sequence[dict[str, Any]], rows: int) -> tuple[str, ...]:
    """Keys that at least 95% of all answers share, in their most frequent order; empty if there are none."""
    if not objects:
        return ()
    sets = Counter(frozenset(o) for o in objects)
    keys, count = max(sets.items(), key=lambda item: (item[1], sorted(item[0])))
    if count < _SAME_KEYS_SHARE * rows or not keys:
        return ()
    orders = Counter(tuple(o) for o in objects if frozenset(o) == keys)
    return max(orders.items(), key=lambda item: (item[1], item[0]))[0]


def _json_form(
    objects: Sequence[dict[str, Any]], keys: tuple[str, ...], configured: tuple[str, ...] | None
) -> AnswerForm:
    _check_configured(configured, keys)
    columns = {key: [as_text(o[key]) for o in objects] for key in keys}
    repeated = tuple(k for k in keys if (k in configured if configured is not None else _repeats(columns[k])))
    text_fields = tuple(k for k in keys if k not in repeated)
    constant = configured is None and all(len(set(columns[k])) == 1 for k in repeated)
    return AnswerForm(
        kind="json",
        keys=keys,
        fields=() if constant and text_fields else repeated,
        text_fields=text_fields,
        values={k: tuple(sorted(set(columns[k]))) for k in repeated},
    )


def _plain_form(answers: Sequence[str], configured: tuple[str, ...] | None) -> AnswerForm:
    _check_configured(configured, (ANSWER,))
    texts = [a.strip() for a in answers]
    is_label = bool(configured) if configured is not None else _repeats(texts)
    if not is_label:
        return AnswerForm(kind="text")
    return AnswerForm(kind="label", fields=(ANSWER,), values={ANSWER: tuple(sorted(set(texts)))})


def _repeats(values: Sequence[str]) -> bool:
    distinct = len(set(values))
    return 0 < distinct <= _MOST_VALUES and distinct * _ROWS_PER_VALUE <= len(values)


def _check_configured(configured: tuple[str, ...] | None, known: tuple[str, ...]) -> None:
    unknown = [name for name in configured or () if name not in known]
    if unknown:
        raise UsageError(
            f"the answers have no field {', '.join(map(repr, unknown))}",
            where="evaluate.fields",
            why=f"the training answers have: {', '.join(known)}",
            remedy="name some of these fields, or leave evaluate.fields out so that they are found",
        )
