"""What the leak check sees of a text: hashed words, and keys that survive case, punctuation and another order.

Everything is numpy, in the layout of a sparse matrix, so that a shard of rows costs a few array operations. Words are
runs of letters and digits; a character of a script that is written without spaces is a word of its own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_STOP = re.compile(r"[.!?;\n\u2026\u3002\uff01\uff1f]+")
_APOSTROPHES = str.maketrans("", "", "'’ʼ`´")
_BUCKETS = 1 << 20
_VOCABULARY = 1 << 18


class Features(NamedTuple):
    """Of some texts, one after the other; text i has the words `words[bounds[i]:bounds[i + 1]]`."""

    bounds: NDArray[Any]
    words: NDArray[Any]
    same: NDArray[Any]  # equal where all letters and digits are
    sentences: NDArray[Any]  # equal where the same sentences stand in any order
    answers: NDArray[Any]  # of the answer that belongs to the text

    @property
    def lengths(self) -> NDArray[Any]:
        """Words of each text."""
        import numpy as np

        return np.diff(self.bounds)

    def take(self, rows: NDArray[Any]) -> Features:
        """The features of some of the texts, in the order of `rows`."""
        import numpy as np

        lengths = self.lengths[rows]
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        positions = np.arange(bounds[-1]) + np.repeat(self.bounds[rows] - bounds[:-1], lengths)
        return Features(bounds, self.words[positions], self.same[rows], self.sentences[rows], self.answers[rows])


class _Hashes(dict[str, int]):
    """Word → 64 bits; keeps the words of natural language, forgets when a corpus has endless ones."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _VOCABULARY:
            self.clear()
        value = self[word] = _hash(word)
        return value


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


_HASHES = _Hashes()


def folded(text: str) -> str:
    """Text without differences of case, width, accents and apostrophes."""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        text = "".join(c for c in decomposed if unicodedata.category(c) != "Mn")
    return text.casefold().translate(_APOSTROPHES)


def split_words(text: str) -> list[str]:
    """The words of a text as the leak check counts them."""
    return _WORD.findall(folded(text))


def features(texts: Sequence[str], answers: Sequence[str]) -> Features:
    """Features of texts and of the answers that belong to them."""
    import numpy as np

    words: list[int] = []
    ends, same, sentences = [0], [], []
    for text in texts:
        parts = [_WORD.findall(part) for part in _STOP.split(folded(text))]
        joined = ["".join(part) for part in parts if part] or [text.strip()]
        for part in parts:
            words += [_HASHES[word] for word in part]
        ends.append(len(words))
        same.append(_hash("".join(joined)))
        sentences.append(sum(map(_hash, joined)) % 2**64)
    return Features(
        np.array(ends, dtype=np.int64),
        np.array(words, dtype=np.uint64),
        np.array(same, dtype=np.uint64),
        np.array(sentences, dtype=np.uint64),
        np.array([_hash(f"answer\0{folded(a).strip()}") for a in answers], dtype=np.uint64),
    )


def save(path: Path, found: Features) -> None:
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **found._asdict())


def load(path: Path) -> Features:
    import numpy as np

    with np.load(path) as arrays:
        return Features(*(arrays[name] for name in Features._fields))


class Frequencies:
    """In how many texts a word, and how often an answer, occurs; in a fixed number of buckets, whatever the corpus."""

    def __init__(self) -> None:
        import numpy as np

        self.counts = np.zeros(_BUCKETS, dtype=np.uint32)
        self.texts = 0

    def add(self, found: Features) -> None:
        import numpy as np

        row = np.repeat(np.arange(len(found.same), dtype=np.int64), found.lengths)
        pairs = np.unique(row * _BUCKETS + _bucket(found.words))
        self.counts += np.bincount(pairs % _BUCKETS, minlength=_BUCKETS).astype(np.uint32)
        self.counts += np.bincount(_bucket(found.answers), minlength=_BUCKETS).astype(np.uint32)
        self.texts += len(found.same)

    def bits(self) -> NDArray[Any]:
        """Information of a word in each bucket: the negative logarithm of the share of texts that hold it."""
        import numpy as np

        return np.log2(max(1, self.texts) / np.clip(self.counts, 1, max(1, self.texts))).astype(np.float32)


def look_up(bits: NDArray[Any], hashes: NDArray[Any]) -> NDArray[Any]:
    """Information of each of the hashed words or answers."""
    import numpy as np

    made: NDArray[Any] = bits[_bucket(hashes)].astype(np.float64)
    return made


def _bucket(hashes: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    made: NDArray[Any] = (hashes % np.uint64(_BUCKETS)).astype(np.int64)
    return made
