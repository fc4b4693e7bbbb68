"""What the systems are asked. The tuned model gets the plain row; the base model a fair description of the task.

The description says what the form of an answer is and which values each field can have (all from the training rows),
and shows worked examples. It stands in front and is the same for every row, so that an engine can reuse the prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tasks.contracts import Message, Row
from tasks.evaluate.fields import AnswerForm, read_answer

Fits = Callable[[Sequence[Message], str], bool]  # a prompt, the definitions of its tools


def base_prompt(row: Row, form: AnswerForm, examples: Sequence[Row]) -> tuple[Message, ...]:
    """The base model's prompt: task description, worked examples as earlier turns, then the row's own turns."""
    own = [m.content for m in row.prompt if m.role == "system"]
    system = "\n\n".join(part for part in (describe(form), *own) if part)
    turns = [m for example in examples for m in example.messages if m.role != "system"]
    turns += [m for m in row.prompt if m.role != "system"]
    return (*((Message(role="system", content=system),) if system else ()), *turns)


def base_prompts(
    rows: Sequence[Row], form: AnswerForm, examples: Sequence[Row], fits: Fits
) -> tuple[list[tuple[Message, ...]], tuple[str, ...]]:
    """The base model's prompts, and notes on those that have fewer examples because its context ends before.

    The last example of a prompt goes first; a row that does not fit even without any is asked all the same.

    Args:
        fits: whether a prompt of a row leaves room for the answer in what the model can read.
    """
    prompts, shown, beyond = [], [], 0
    for row in rows:
        count = len(examples)
        while not fits(prompt := base_prompt(row, form, examples[:count]), row.tools) and count:
            count -= 1
        beyond += not count and not fits(prompt, row.tools)
        prompts.append(prompt)
        shown.append(count)
    return prompts, tuple(_notes(shown, len(examples), beyond))


def _notes(shown: Sequence[int], wanted: int, beyond: int) -> Iterator[str]:
    fewer = sum(count < wanted for count in shown)
    if fewer:
        yield (
            f"{fewer} of {len(shown)} rows leave no room in the base model's context for all {wanted} worked examples: "
            f"it was shown at least {min(shown)}."
        )
    if beyond:
        yield (
            f"{beyond} of {len(shown)} rows do not fit into the base model's context even without worked examples: it "
            "was asked beyond the length it was trained for, and its answers to them can be worse for that alone."
        )


def describe(form: AnswerForm) -> str:
    """The task in words; empty for free text, where only examples can show what is wanted."""
    if form.kind == "json":
        return "\n".join(
            [
                "Answer the last message with exactly one JSON object and nothing else.",
                "It has these keys, in this order:",
                *(f'- "{key}": {_value_in_words(key, form)}' for key in form.keys),
            ]
        )
    if form.kind == "label":
        values = "\n".join(f"- {value}" for value in form.values[form.fields[0]])
        return f"Answer the last message with exactly one of these answers and nothing else:\n{values}"
    return ""


def choose_examples(training: Sequence[Row], form: AnswerForm, count: int) -> tuple[Row, ...]:
    """Worked examples with answers as different as possible, none more than twice as long as the median row.

    Deterministic: the next example shares the fewest field values with those already chosen; then the shorter one, then
    the one whose text comes first.
    """
    by_length = sorted(training, key=lambda row: (_length(row), _text(row)))
    longest = 2 * _length(by_length[len(by_length) // 2])
    pool = [row for row in by_length if _length(row) <= longest]
    seen: list[dict[str, str]] = []
    chosen: list[Row] = []
    for _ in range(min(count, len(pool))):
        best = min((r for r in pool if r not in chosen), key=lambda r: _shared(_look(r, form), seen))
        chosen.append(best)
        seen.append(_look(best, form))
    return tuple(chosen)


def _value_in_words(key: str, form: AnswerForm) -> str:
    if key in form.text_fields:
        return "free text, as in the examples"
    return "one of " + ", ".join(form.values[key])


def _look(row: Row, form: AnswerForm) -> dict[str, str]:
    return read_answer(row.answer, form).values or {"": row.answer}


def _shared(values: dict[str, str], seen: Sequence[dict[str, str]]) -> int:
    return sum(other.get(field) == value for other in seen for field, value in values.items())


def _length(row: Row) -> int:
    return sum(len(m.content) for m in row.messages)


def _text(row: Row) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in row.messages]
