"""Preference pairs for the bench: read from a file, or generated with a rule that a likelihood alone learns slowly.

Generated pairs: a customer names two options, and the better answer keeps to the one the house rule picks; the other
answer is the same text with the other option. Both answers read equally well and share nearly all of their words, so
that learning to write such answers (SFT) raises both, and only the difference between them teaches the rule.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from tasks.contracts import Message, Row, RowOrigin

_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_PLACES = ("the front door", "the garage", "the office", "the back gate", "the shop", "the reception")
_COLOURS = ("red", "blue", "green", "black", "white", "grey")
# (what is said, answer, options): the rule picks the option that is named second.
_TEMPLATES = (
    (
        "Order {n}. I am at home on {a} and on {b}. When do you come?",
        "Thank you for writing about order {n}. Our driver will come on {x}, and we will call you before.",
        _DAYS,
    ),
    (
        "Parcel {n} could be left at {a} or at {b}. Where will it be?",
        "Thank you for writing about parcel {n}. We will leave it at {x}, and you will get a message.",
        _PLACES,
    ),
    (
        "For order {n} I would take the {a} one or the {b} one. Which one do you send?",
        "Thank you for writing about order {n}. We will send the {x} one, and you can return it for free.",
        _COLOURS,
    ),
)


def generated(count: int, seed: int) -> list[Row]:
    """`count` different pairs; the same for the same seed."""
    chance = random.Random(f"preferences/{seed}")
    rows: list[Row] = []
    for index in range(count):
        prompt, answer, options = _TEMPLATES[index % len(_TEMPLATES)]
        first, second = chance.sample(options, 2)
        number = chance.randrange(1000, 10_000)
        rows.append(
            make_row(
                index,
                [("user", prompt.format(n=number, a=first, b=second))],
                answer.format(n=number, x=second),
                answer.format(n=number, x=first),
            )
        )
    return rows


def read_pairs(path: Path) -> list[Row]:
    """Pairs of a JSON file: a list of objects with conversations (from, value), chosen and rejected."""
    records = json.loads(path.read_text(encoding="utf-8"))
    rows = []
    for index, record in enumerate(records):
        turns = [(_ROLES[turn["from"]], turn["value"]) for turn in record["conversations"]]
        rows.append(make_row(index, turns, record["chosen"]["value"], record["rejected"]["value"]))
    return rows


def make_row(index: int, turns: list[tuple[str, str]], chosen: str, rejected: str) -> Row:
    """A row as a dataset version holds it."""
    origin = RowOrigin(source_uri="pairs", source_digest="0" * 64, record_index=index, byte_offset=0, line=index + 1)
    said: list[Any] = [*turns, ("assistant", chosen)]
    messages = tuple(Message(role=role, content=text) for role, text in said)
    return Row(row_id=f"{'0' * 16}:{index}", origin=origin, messages=messages, rejected=rejected, shape="preference")


def short_enough(rows: list[Row], tokenizer: Any, max_tokens: int) -> list[Row]:
    """Pairs that differ and whose two sequences have at most `max_tokens` tokens."""
    from tasks.errors import TrainingFailed
    from tasks.train.preference import encode_pair

    kept = []
    for row in rows:
        try:
            encode_pair(tokenizer, row, max_tokens)
        except TrainingFailed:
            continue
        kept.append(row)
    return kept


def fold_of(index: int, seed: int, folds: int, count: int) -> int:
    """In which fold a pair is held out; another assignment with another seed."""
    order = list(range(count))
    random.Random(f"folds/{seed}").shuffle(order)
    return order[index] % folds
