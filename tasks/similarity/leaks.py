"""Copies of held-out rows among training rows: equal, a word or a tenth changed, sentences in another order.

Jaccard similarity of shingles fails on short texts, where one changed word changes most shingles. This check compares
words instead, in three ways:

equal   all letters and digits are the same, or the same sentences stand in another order: always a leak
long    from 16 words on: a leak where both share at least `threshold` of the words of the longer one, in any order.
        Candidates share one of the 16 smallest hashes of their word triples (a bottom-k sketch: Broder 1997); the
        share is then counted on the words, for texts of more than 192 of them on a bottom-k sample of that size.
short   up to 15 words: the words may stand in another order, or one of them may be replaced, added or left out. Found
        without comparing pairs: a text differs by one word from another where its words, or its words without one of
        them, are those of the other, or those without one (deletion neighbourhoods: Mor and Fraenkel 1982).

In a narrow domain ("how do I top up?", "how do I pay up?") innocent short questions differ by one word too. So a short
match also needs more information (bits, from how rare the shared words are, and the answer where it is the same) than
chance explains. How much chance explains is read off the held-out rows: they are no copies of one another, so at most
the share `chance` of them may have a partner among themselves with that much information.

A conversation of training may also begin with a held-out one and go on. Its openings are asked about like texts of
their own; since many conversations begin with the same few words, a short opening has to be answered the same, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.similarity.leak_features import Features, features, look_up
from tasks.similarity.leak_sketches import samples, shares, triples
from tasks.similarity.segments import first_rows, mixed, rank_in_run, row_sums, search

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHORT_WORDS = 15
_POSTINGS, _CANDIDATES = 32, 4
_EVEN_CHANCE_ROWS = 2  # one pair of alike held-out rows is no proof that the domain is full of them
_BASE = 0x9E3779B97F4A7C15
_ROUNDING = 1e-9
_BITS_ROUNDING = 1e-3


class Leak(NamedTuple):
    """Training text `row`, or an opening of it, says what held-out text `held` says; `share` of words is the same."""

    row: int
    held: int
    share: float
    opening: bool = False


class _Entries(NamedTuple):
    """Keys of short texts, with what a text with the same key shares."""

    row: NDArray[Any]
    key: NDArray[Any]
    bits: NDArray[Any]  # information of the shared words
    shared: NDArray[Any]  # how many


class LeakIndex(NamedTuple):
    """The held-out texts, ready to be asked. At most 1 kB a held-out text, whatever its length, and 4 MiB."""

    bits: NDArray[Any]
    same_key: NDArray[Any]
    same_row: NDArray[Any]
    short_key: NDArray[Any]
    short_row: NDArray[Any]
    triple_key: NDArray[Any]
    triple_row: NDArray[Any]
    sample_bounds: NDArray[Any]
    sample: NDArray[Any]
    lengths: NDArray[Any]
    answers: NDArray[Any]
    limits: NDArray[Any]  # threshold, bits that chance explains

    def save(self, folder: Path) -> None:
        import numpy as np

        folder.mkdir(parents=True, exist_ok=True)
        for name, array in self._asdict().items():
            np.save(folder / f"{name}.npy", array)

    @classmethod
    def load(cls, folder: Path) -> LeakIndex:
        """Mapped, not read: workers on one machine share the pages."""
        import numpy as np

        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in cls._fields))


def build_index(held: Iterable[Features], bits: NDArray[Any], threshold: float, chance: float) -> LeakIndex:
    """Index of the held-out texts; `bits` is the information of words in the whole corpus."""
    import numpy as np

    parts, texts = [], 0
    for found in (_without_words(), *held):
        parts.append(_part(found, bits, texts, threshold))
        texts += len(found.same)
    *short, triple_key, triple_row, counts, sample, lengths, answers = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    keys, sentences, rows, short_key, short_row, short_bits = short
    limit = _chance_bits(sentences, short_key, short_row, short_bits, chance)
    bounds = np.concatenate([[0], np.cumsum(counts)])
    return LeakIndex(
        bits, *first_rows(np.concatenate([keys, sentences]), np.tile(rows, 2)), *first_rows(short_key, short_row),
        *_postings(triple_key, triple_row), bounds, sample, lengths, answers, np.array([threshold, limit]),
    )  # fmt: skip


def _part(found: Features, bits: NDArray[Any], first: int, threshold: float) -> tuple[NDArray[Any], ...]:
    """What the index keeps of some held-out texts, the first of which has the number `first`."""
    import numpy as np

    entries = _entries(found, bits) if threshold < 1 else _entries(_without_words(), bits)
    triple_row, triple_key = triples(found)
    bounds, sample = samples(found)
    rows = np.arange(first, first + len(found.same), dtype=np.int32)
    return (
        found.same, found.sentences, rows, entries.key, (entries.row + first).astype(np.int32),
        entries.bits.astype(np.float32), triple_key, (triple_row + first).astype(np.int32),
        np.diff(bounds), sample, found.lengths.astype(np.int32), found.answers,
    )  # fmt: skip


def find_leaks(asked: Features, index: LeakIndex, *, openings: bool = False) -> list[Leak]:
    """For each text that is a copy of a held-out one the closest of them (the first, where several are), ordered.

    Args:
        openings: the texts are openings of longer conversations.
    """
    best: dict[int, Leak] = {}
    if len(index.lengths) and len(asked.same):
        for leak in (*_equal(asked, index), *_long(asked, index), *_short(asked, index)):
            if openings and not _is_answered(leak, asked, index):
                continue
            known = best.get(leak.row)
            if known is None or (-leak.share, leak.held) < (-known.share, known.held):
                best[leak.row] = leak
    return [best[row] for row in sorted(best)]


def _is_answered(leak: Leak, asked: Features, index: LeakIndex) -> bool:
    """Whether an opening is long enough to be told by itself, or has the answer of the held-out text."""
    length = asked.bounds[leak.row + 1] - asked.bounds[leak.row]
    return bool(length > SHORT_WORDS or asked.answers[leak.row] == index.answers[leak.held])


def _equal(asked: Features, index: LeakIndex) -> Iterator[Leak]:
    for keys in (asked.same, asked.sentences):
        found, at = search(index.same_key, keys)
        yield from (Leak(int(r), int(h), 1.0) for r, h in zip(found, index.same_row[at], strict=True))


def _short(asked: Features, index: LeakIndex) -> Iterator[Leak]:
    import numpy as np

    entries = _entries(asked, index.bits)
    found, at = search(index.short_key, entries.key)
    found, at = (kept[entries.bits[found] > index.limits[1] + _BITS_ROUNDING] for kept in (found, at))
    held, row = index.short_row[at], entries.row[found]
    longest = np.maximum(asked.lengths[row], index.lengths[held])
    share = entries.shared[found] / longest
    yield from (Leak(int(r), int(h), float(s)) for r, h, s in zip(row, held, share, strict=True))


def _entries(found: Features, bits: NDArray[Any]) -> _Entries:
    """Keys of each short text: of its words in any order, of their sequence, and of that without each of the words.

    The key of a sequence is the polynomial of its hashes at `_BASE`. Every key is there a second time with the answer,
    which adds its own information.
    """
    import numpy as np

    lengths = found.lengths
    whole = np.flatnonzero((lengths >= 2) & (lengths <= SHORT_WORDS))
    of_row = np.repeat(np.arange(len(lengths)), lengths)
    token = np.flatnonzero((lengths[of_row] >= 3) & (lengths[of_row] <= SHORT_WORDS))
    at, before, after = of_row[token], found.bounds[of_row[token]], found.bounds[of_row[token] + 1]
    powers = np.array([pow(_BASE, i, 2**64) for i in range(SHORT_WORDS)], dtype=np.uint64)
    place = np.minimum(np.arange(len(of_row)) - found.bounds[of_row], SHORT_WORDS - 1)
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(found.words * powers[place], dtype=np.uint64)])
    without = sums[token] - sums[before] + (sums[after] - sums[token + 1]) * np.uint64(pow(_BASE, -1, 2**64))
    sequence = sums[found.bounds[1:]] - sums[found.bounds[:-1]]
    of_word = look_up(bits, found.words)
    total = row_sums(of_word, found.bounds)
    row = np.concatenate([whole, whole, at])
    keys = np.concatenate([mixed(row_sums(found.words, found.bounds)[whole]), sequence[whole], without])
    shared = np.concatenate([lengths[whole], lengths[whole], lengths[at] - 1])
    information = np.concatenate([total[whole], total[whole], total[at] - of_word[token]])
    answers = found.answers[row]
    return _Entries(
        np.tile(row, 2),
        np.concatenate([keys, keys ^ mixed(answers)]),
        np.concatenate([information, information + look_up(bits, answers)]),
        np.tile(shared, 2),
    )


def _chance_bits(
    sentences: NDArray[Any], key: NDArray[Any], row: NDArray[Any], bits: NDArray[Any], chance: float
) -> float:
    """Information that all but the share `chance` of the held-out texts stay below in their mutual short matches."""
    import numpy as np

    if chance >= 1 or not len(key):
        return -1.0
    text = sentences[row]
    order = np.lexsort((text, key))
    key, text = key[order], text[order]
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    ends = np.concatenate([starts[1:], [len(key)]]) - 1
    several = np.repeat(text[starts] != text[ends], ends - starts + 1)
    best = np.zeros(len(sentences))
    np.maximum.at(best, row[order][several], bits[order][several])
    allowed = max(_EVEN_CHANCE_ROWS, int(chance * len(best)))
    return float(np.sort(best)[::-1][allowed]) if len(best) > allowed else 0.0


def _long(asked: Features, index: LeakIndex) -> Iterator[Leak]:
    import numpy as np

    row, held = _candidates(asked, index)
    lengths = asked.lengths[row]
    longest = np.maximum(lengths, index.lengths[held])
    fits = (longest > SHORT_WORDS) & (np.minimum(lengths, index.lengths[held]) >= index.limits[0] * longest - _ROUNDING)
    row, held = row[fits], held[fits]
    share = shares(samples(asked), row, (index.sample_bounds, index.sample), held)
    near = share >= index.limits[0] - _ROUNDING
    yield from (Leak(int(r), int(h), float(s)) for r, h, s in zip(row[near], held[near], share[near], strict=True))


def _candidates(asked: Features, index: LeakIndex) -> tuple[NDArray[Any], NDArray[Any]]:
    """Pairs that share triples: for each text the few held-out ones that share most."""
    import numpy as np

    row, key = triples(asked)
    first = np.searchsorted(index.triple_key, key, "left")
    count = np.searchsorted(index.triple_key, key, "right") - first
    at = np.repeat(first - np.concatenate([[0], np.cumsum(count)[:-1]]), count) + np.arange(count.sum())
    texts = len(index.lengths)
    pairs, shared = np.unique(np.repeat(row, count) * texts + index.triple_row[at], return_counts=True)
    row, held = pairs // texts, pairs % texts
    order = np.lexsort((held, -shared, row))
    kept = order[rank_in_run(row[order]) < _CANDIDATES]
    return row[kept], held[kept]


def _postings(key: NDArray[Any], row: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Sorted keys with the first few rows that have them."""
    import numpy as np

    order = np.lexsort((row, key))
    kept = order[rank_in_run(key[order]) < _POSTINGS]
    return key[kept], row[kept]


def _without_words() -> Features:
    """No text at all, so that an empty list of parts has the right types."""
    return features([], [])
