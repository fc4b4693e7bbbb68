"""Preference pairs for the bench: read from a file, or generated so that likelihood alone does not tell what is better.

Generated pairs: an answer to a customer is one of four degrees of binding, and of two neighbouring degrees the more
binding one is better. As in collected preferences, the best answers are rare: most pairs are of the lower degrees, so
a good answer is often the chosen one and the best seldom. Learning to write the chosen answers (SFT) learns how often
each degree was chosen, which is not how good it is; only the comparison teaches that.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from tasks.contracts import Message, Row, RowOrigin

_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_TOPICS = (
    ("Where is parcel {n}? I have been waiting for days.", "bring parcel {n}"),
    ("The bike of order {n} makes a strange noise.", "repair the bike of order {n}"),
    ("Invoice {n} was charged twice. Please look at it.", "correct invoice {n}"),
    ("I want to send order {n} back. How does it work?", "collect order {n}"),
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
# From the least to the most binding; all of about the same length.
_DEGREES = (
    "We will {do} at some time, and you need not ask about it again.",
    "We will {do} in the next days, and you may ask again after that.",
    "We will {do} on {day}, and you will get a message from us before.",
    "We will {do} today at {hour} o'clock, and we will call you before.",
)
# How often a pair compares degree k+1 (better) with degree k.
_SHARES = (0.5, 0.3, 0.2)


def generated(count: int, seed: int) -> list[Row]:
    """`count` pairs about different orders; the same for the same seed."""
    chance = random.Random(f"preferences/{seed}")
    rows: list[Row] = []
    for index in range(count):
        question, task = chance.choice(_TOPICS)
        (lower,) = chance.choices(range(len(_SHARES)), _SHARES)
        known = {"n": chance.randrange(1000, 10_000), "day": chance.choice(_DAYS), "hour": chance.randrange(1, 12)}
        worse, better = (_DEGREES[degree].format(do=task.format(**known), **known) for degree in (lower, lower + 1))
        rows.append(make_row(index, [("user", question.format(**known))], better, worse))
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
