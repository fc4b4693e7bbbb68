"""Rows for the measurements of training: the support desk example, and the same texts with a long tail of lengths."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

DATA = Path(__file__).resolve().parents[1] / "examples" / "support_desk" / "data"
TRAINED = ("tickets.jsonl",)
HELD_OUT = ("heldout.jsonl",)
LONGEST_ROW = 512  # checks.max_tokens of the example
TAIL = 1.1  # exponent of the lengths' distribution: few rows are very long
LONGEST_JOINED = 12  # messages of a joined row: about 900 tokens


class Pair(NamedTuple):
    """A prompt and its answer."""

    prompt: str
    answer: str


def support_desk(*files: str) -> list[Pair]:
    """Tickets as they are: one question, one answer, about 73 tokens with the template, half of them learned."""
    lines = [line for file in files or TRAINED for line in (DATA / file).read_text(encoding="utf-8").splitlines()]
    pairs = []
    for line in lines:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue  # the example has a few broken lines on purpose
        turns = row.get("messages", [])
        if [turn["role"] for turn in turns] == ["user", "assistant"]:
            pairs.append(Pair(turns[0]["content"], turns[1]["content"]))
        elif "completion" in row:
            pairs.append(Pair(row["prompt"], row["completion"]))
    return pairs


def long_tail(pairs: Sequence[Pair], count: int, seed: int = 17) -> list[Pair]:
    """Rows that join one to many tickets: most are short, few are twelve times as long (Pareto)."""
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        several = chance.choices(pairs, k=min(LONGEST_JOINED, int(chance.paretovariate(TAIL))))
        rows.append(Pair("\n\n".join(p.prompt for p in several), "\n".join(p.answer for p in several)))
    return rows


def encoded(tokenizer: Any, pairs: Sequence[Pair], longest: int | None = None) -> list[Any]:
    """The rows as token ids with the mask of what is learned; those longer than `longest` are left out."""
    from tasks.contracts import Message
    from tasks.tokens import encode_example

    turns = [(Message(role="user", content=p.prompt), Message(role="assistant", content=p.answer)) for p in pairs]
    examples = [encode_example(tokenizer, pair) for pair in turns]
    return [e for e in examples if longest is None or len(e.input_ids) <= longest]
