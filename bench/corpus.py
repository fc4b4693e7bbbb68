"""A corpus for benchmarks of the data stages: prompt and completion as JSON Lines, with everything planted known.

    python -m bench.corpus --rows 100000 FILE

Words follow Zipf's law over an invented vocabulary, lengths are log-normal between 0.3 and 6 KB. Of all rows 8% are
near duplicates of an earlier one (words replaced, dropped, added or swapped, in clusters of two to four), 3% exact
duplicates, 6% hold personal data. Beside FILE lies `FILE.planted.json` with the copies and what they were made from.
The same seed and number of rows give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.pii_corpus import examples

VOCABULARY = 40_000
NEAR, EXACT, PERSONAL = 0.08, 0.03, 0.06
_LETTERS = ("bcdfghklmnprstvwz", "aeiou")


class Row(NamedTuple):
    """One row, and the number of the row it was made from where it is a copy."""

    prompt: str
    completion: str
    origin: int | None = None
    exact: bool = False


class Planted(NamedTuple):
    """Row `copy` was made from the earlier row `origin`; origins are never copies themselves."""

    origin: int
    copy: int
    exact: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=17)
    options = parser.parse_args()
    planted = write(options.file, options.rows, options.seed)
    size = options.file.stat().st_size
    print(f"{options.rows} rows, {size / 1e6:.0f} MB, {len(planted)} planted copies")


def write(file: Path, rows: int, seed: int = 17) -> list[Planted]:
    """Write the corpus and the list of what was planted."""
    planted: list[Planted] = []
    with file.open("w", encoding="utf-8") as stream:
        for number, row in enumerate(make_rows(rows, seed)):
            stream.write(json.dumps({"prompt": row.prompt, "completion": row.completion}, ensure_ascii=False) + "\n")
            if row.origin is not None:
                planted.append(Planted(row.origin, number, row.exact))
    _planted_file(file).write_text(json.dumps(planted), encoding="utf-8")
    return planted


def planted_in(file: Path) -> list[Planted]:
    """What was planted in a corpus that was written before."""
    return [Planted(*one) for one in json.loads(_planted_file(file).read_text(encoding="utf-8"))]


def _planted_file(file: Path) -> Path:
    return file.with_name(file.name + ".planted.json")


def make_rows(count: int, seed: int) -> Iterator[Row]:
    """The rows one by one; those that copies are made from are drawn beforehand, a few hundred stay in memory."""
    rng = random.Random(seed)
    words = _Words(rng)
    recent: list[tuple[int, Row]] = []
    for number in range(count):
        draw = rng.random()
        if recent and draw < NEAR:
            origin, row = rng.choice(recent[-300:])
            yield Row(_edited(rng, words, row.prompt), _edited(rng, words, row.completion), origin)
        elif recent and draw < NEAR + EXACT:
            origin, row = rng.choice(recent[-300:])
            yield Row(row.prompt, row.completion, origin, exact=True)
        else:
            row = _fresh(rng, words, personal=rng.random() < PERSONAL / (1 - NEAR - EXACT))
            if rng.random() < 0.3:
                recent = [*recent[-299:], (number, row)]
            yield row


def texts_of_size(characters: int, count: int, seed: int = 17) -> list[str]:
    """Texts of one length without anything planted."""
    rng = random.Random(seed)
    words = _Words(rng)
    return [" ".join(words.draw(max(3, characters // 5)))[:characters] for _ in range(count)]


class _Words:
    """Draws words by Zipf's law."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._words = list(dict.fromkeys(self._invent() for _ in range(VOCABULARY * 2)))[:VOCABULARY]
        total, self._cumulative = 0.0, []
        for rank in range(1, len(self._words) + 1):
            total += 1 / (rank + 2.7)
            self._cumulative.append(total)

    def draw(self, count: int) -> list[str]:
        return self._rng.choices(self._words, cum_weights=self._cumulative, k=count)

    def _invent(self) -> str:
        consonants, vowels = _LETTERS
        syllables = self._rng.choices((1, 2, 3, 4), weights=(3, 5, 3, 1))[0]
        return "".join(self._rng.choice(consonants) + self._rng.choice(vowels) for _ in range(syllables))


def _fresh(rng: random.Random, words: _Words, *, personal: bool) -> Row:
    length = min(6000, max(300, int(rng.lognormvariate(7.45, 0.65))))
    text = _sentences(rng, words.draw(max(40, length // 6)))
    if personal:
        value = next(e.text for e in examples(rng.randrange(1 << 30), 3) if e.spans)
        text.insert(rng.randrange(len(text)), value)
    cut = max(1, int(len(text) * rng.uniform(0.3, 0.7)))
    return Row(" ".join(text[:cut]), " ".join(text[cut:]) or "yes")


def _sentences(rng: random.Random, drawn: list[str]) -> list[str]:
    """Words as sentences with capitals and punctuation."""
    made: list[str] = []
    start = 0
    while start < len(drawn):
        end = start + rng.randrange(6, 22)
        part = drawn[start:end]
        made += [part[0].capitalize(), *part[1:-1], *([part[-1] + rng.choice(".?!,")] if len(part) > 1 else [])]
        start = end
    return made


def _edited(rng: random.Random, words: _Words, text: str) -> str:
    """A near copy: up to 6% of the words are replaced, dropped, added or swapped with their neighbour."""
    made = text.split(" ")
    for _ in range(max(1, int(len(made) * rng.uniform(0, 0.06)))):
        _edit(rng, words, made, rng.randrange(len(made)))
    return " ".join(made)


def _edit(rng: random.Random, words: _Words, made: list[str], place: int) -> None:
    edit = rng.choice(("replace", "drop", "add", "swap"))
    if edit == "replace":
        made[place] = words.draw(1)[0]
    elif edit == "drop" and len(made) > 1:
        made.pop(place)
    elif edit == "add":
        made.insert(place, words.draw(1)[0])
    else:
        made.insert(place, made.pop(min(place + 1, len(made) - 1)))


if __name__ == "__main__":
    main()
