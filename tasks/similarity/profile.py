"""What a set of prompts and answers looks like in numbers: stored with a dataset version, compared by the drift check.

No text and no rare word is in a profile: words are hashed, and only those that occur in several rows are there.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import zip_longest

from pydantic import Field

from tasks.contracts import Record
from tasks.placeholders import PLACEHOLDER
from tasks.similarity.keys import normalised

LENGTH_BOUNDS = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512)
MIN_ROWS_OF_WORD = 5
MAX_WORDS = 500
MAX_VALUES = 100
_WORD = re.compile(r"[^\W\d_]{2,}")
_LABEL_CHARACTERS = 40


class Profile(Record):
    """Distributions over the rows of one set."""

    rows: int
    length_bounds: tuple[int, ...] = Field(LENGTH_BOUNDS, description="Upper bounds, in words, of the length classes.")
    lengths: tuple[int, ...] = Field(description="Prompts in each length class; the last one has no upper bound.")
    words: dict[str, int] = Field(description="First 16 hex of SHA-256 of a word → prompts that hold it.")
    answers: dict[str, dict[str, int]] = Field(
        description="Field of a JSON answer (empty name: whole answer) → value → rows; free text is left out."
    )


@dataclass
class Profiling:
    """Counts prompts and answers one by one; what two of them saw can be added up. Memory grows with the vocabulary."""

    rows: int = 0
    lengths: list[int] = field(default_factory=lambda: [0] * (len(LENGTH_BOUNDS) + 1))
    rows_of_word: Counter[str] = field(default_factory=Counter)
    values: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, prompt: str, answer: str | None = None) -> None:
        self.rows += 1
        self.lengths[length_class(prompt)] += 1
        self.rows_of_word.update(set(words(prompt)))
        for name, value in _fields(answer) if answer is not None else ():
            self.values.setdefault(name, Counter())[value] += 1

    def merge(self, other: Profiling) -> None:
        """Add what another one saw."""
        self.rows += other.rows
        self.lengths = [a + b for a, b in zip(self.lengths, other.lengths, strict=True)]
        self.rows_of_word.update(other.rows_of_word)
        for name, values in other.values.items():
            self.values.setdefault(name, Counter()).update(values)

    def result(self) -> Profile:
        frequent = [(word_hash(w), n) for w, n in self.rows_of_word.items() if n >= MIN_ROWS_OF_WORD]
        top = sorted(frequent, key=lambda item: (-item[1], item[0]))[:MAX_WORDS]
        labels = {name: _labels(values) for name, values in sorted(self.values.items())}
        answers = {name: values for name, values in labels.items() if values}
        return Profile(rows=self.rows, lengths=tuple(self.lengths), words=dict(top), answers=answers)


def profile(prompts: Iterable[str], answers: Iterable[str] = ()) -> Profile:
    """Profile of prompts and, where known, their answers."""
    found = Profiling()
    for prompt, answer in zip_longest(prompts, answers):
        found.add(prompt, answer)
    return found.result()


def words(text: str) -> list[str]:
    """Words of two letters and more, normalised; digits and placeholders are none."""
    return _WORD.findall(normalised(PLACEHOLDER.sub(" ", text)))


def word_hash(word: str) -> str:
    return sha256(word.encode()).hexdigest()[:16]


def length_class(prompt: str) -> int:
    """Index of the length class of a prompt."""
    count = len(prompt.split())
    return next((i for i, bound in enumerate(LENGTH_BOUNDS) if count <= bound), len(LENGTH_BOUNDS))


def _labels(values: Counter[str]) -> dict[str, int]:
    """Values that repeat; one that stands in a single row may be somebody's own words."""
    ranked = sorted(((v, n) for v, n in values.items() if n >= MIN_ROWS_OF_WORD), key=lambda item: (-item[1], item[0]))
    return dict(sorted(ranked[:MAX_VALUES]))


def _fields(answer: str) -> list[tuple[str, str]]:
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        return [("", answer)] if len(answer) <= _LABEL_CHARACTERS else []
    texts = [(k, v if isinstance(v, str) else json.dumps(v)) for k, v in value.items()]
    return [(k, v) for k, v in texts if len(v) <= _LABEL_CHARACTERS]
