"""Rows for the leak benchmark: clean, held-out, planted copies. Shares no code and no list of words with the product.

The clean rows are meant to be hard: four made-up companies whose customers ask short and long things about few
subjects, so that many different rows share their frame and all of their words but one, as in real questions. Two rows
are clean to one another when they were drawn independently and do not consist of the same words.
"""

from __future__ import annotations

import random
import string
from collections import Counter
from typing import NamedTuple

CLASSES = {"4-7": (4, 7), "8-15": (8, 15), "16-40": (16, 40), "41-150": (41, 150), "151-600": (151, 600)}
KINDS = ("exact", "words", "sentences", "case_and_punctuation")
_SYLLABLES = [
    "ba",
    "co",
    "di",
    "fu",
    "ge",
    "ha",
    "ki",
    "lo",
    "mu",
    "ne",
    "po",
    "qua",
    "ri",
    "sta",
    "tor",
    "ul",
    "ven",
    "wi",
    "xo",
    "zan",
    "bre",
    "cla",
    "dro",
    "fli",
    "gru",
    "plo",
    "sne",
    "tri",
]
_COMMON = [
    "the",
    "a",
    "my",
    "your",
    "our",
    "this",
    "that",
    "to",
    "of",
    "in",
    "on",
    "at",
    "for",
    "with",
    "from",
    "by",
    "and",
    "or",
    "but",
    "so",
    "is",
    "was",
    "are",
    "has",
    "had",
    "will",
    "can",
    "could",
    "not",
    "no",
    "yes",
    "it",
    "they",
    "we",
    "you",
    "i",
    "he",
    "she",
    "there",
    "here",
    "when",
    "why",
    "how",
    "what",
    "which",
    "who",
    "now",
    "then",
    "again",
    "still",
    "already",
    "just",
    "only",
    "very",
    "much",
    "more",
    "one",
    "two",
    "first",
    "last",
    "next",
    "every",
    "some",
    "any",
    "please",
    "thanks",
    "help",
    "need",
    "want",
    "get",
    "make",
    "take",
    "give",
]
_FRAMES = (
    "how do i {v} my {n}", "why was my {n} {p}", "where can i {v} the {a} {n}", "is there a fee to {v} a {n} abroad",
    "can you {v} the {n} that i {p} on {d}", "my {n} is still {p} what should i do", "what happens if i {v} my {a} {n}",
    "the {n} for my {m} has not {p}", "i would like to {v} {c} {n} for my {m}", "who can {v} a {n} if the {m} is {p}",
    "does the {a} {n} also {v} my {m}", "i {p} the {n} near {t} but the {m} is {a}",
)  # fmt: skip


class Planted(NamedTuple):
    """A copy of held-out row `of`."""

    text: str
    of: int
    kind: str


class Corpus(NamedTuple):
    held: list[str]
    clean: list[str]
    planted: list[Planted]


class _Language:
    """Words of a made-up domain, frequent ones far more frequent than rare ones."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.slots = {
            slot: self._words(count)
            for slot, count in {"v": 24, "n": 60, "p": 24, "a": 30, "m": 40, "d": 31, "c": 12, "t": 90}.items()
        }
        self.content = self._words(5000)
        self.weights = [1 / (rank + 5) for rank in range(len(self.content))]

    def _words(self, count: int) -> list[str]:
        made: set[str] = set()
        while len(made) < count:
            made.add("".join(self.chance.choice(_SYLLABLES) for _ in range(self.chance.choice((2, 2, 3)))))
        return sorted(made)

    def question(self) -> list[str]:
        frame = self.chance.choice(_FRAMES).split()
        return [self.chance.choice(self.slots[word[1]]) if word[0] == "{" else word for word in frame]

    def sentence(self, words: int) -> list[str]:
        rare = self.chance.choices(self.content, self.weights, k=words)
        return [self.chance.choice(_COMMON) if self.chance.random() < 0.5 else word for word in rare]

    def text(self, low: int, high: int) -> str:
        """Sentences of together so many words; short texts are mostly questions in a frame of the domain."""
        wanted = self.chance.randint(low, high)
        sentences: list[list[str]] = []
        while (have := sum(map(len, sentences))) < wanted:
            left = wanted - have
            made = self.question() if self.chance.random() < (0.8 if high < 16 else 0.2) else []
            if not made or len(made) > left:
                made = self.sentence(left if left < 9 else self.chance.randint(4, min(14, left - 4)))
            sentences.append(made)
        return " ".join(" ".join(s).capitalize() + self.chance.choice(".?!.") for s in sentences)


def make_corpus(seed: int, held: int, clean: int, planted: int) -> Corpus:
    """Rows in equal numbers of each length class; planted copies in equal numbers of each class and kind."""
    chance = random.Random(seed)
    language = _Language(chance)
    bounds = list(CLASSES.values())
    held_rows = _distinct(language, bounds, held, [])
    clean_rows = _distinct(language, bounds, clean, held_rows)
    copies = []
    for number in range(planted):
        kind = KINDS[number // len(bounds) % len(KINDS)]
        of = chance.randrange(held // len(bounds)) * len(bounds) + number % len(bounds)
        copies.append(Planted(_copy(held_rows[of], kind, language), of, kind))
    return Corpus(held_rows, clean_rows, copies)


def _distinct(language: _Language, bounds: list[tuple[int, int]], count: int, others: list[str]) -> list[str]:
    """Rows that consist of other words than each of `others`."""
    taken = {tuple(sorted(_plain(text))) for text in others}
    made: list[str] = []
    while len(made) < count:
        text = language.text(*bounds[len(made) % len(bounds)])
        if tuple(sorted(_plain(text))) not in taken:
            made.append(text)
    return made


def _plain(text: str) -> list[str]:
    return text.lower().translate(str.maketrans("", "", string.punctuation)).split()


def _copy(text: str, kind: str, language: _Language) -> str:
    chance = language.chance
    if kind == "words":
        words = text.split()
        for at in chance.sample(range(len(words)), max(1, len(words) // 10)):
            other = chance.choice([w for w in language.content if w != words[at]])
            words[at] = chance.choice((other, f"{other}.", other.capitalize()))
        return " ".join(words)
    if kind == "sentences":
        sentences = [s for s in text.replace("?", "?|").replace("!", "!|").replace(".", ".|").split("|") if s.strip()]
        chance.shuffle(sentences)
        return " ".join(s.strip() for s in sentences)
    if kind == "case_and_punctuation":
        changed = "".join(c for c in text if c not in ".?!" or chance.random() < 0.3)
        case = chance.choice((str.upper, str.lower, str.title, str.swapcase))
        return chance.choice(('"{}"', "  {} ...", "- {}", "{}!!")).format(case(changed))
    return text


def length_class(text: str) -> str:
    words = len(text.split())
    return next((name for name, (low, high) in CLASSES.items() if low <= words <= high), list(CLASSES)[-1])


def classes_of(texts: list[str]) -> Counter[str]:
    return Counter(map(length_class, texts))
