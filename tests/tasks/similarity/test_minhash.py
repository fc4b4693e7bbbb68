from __future__ import annotations

import random
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.similarity.lsh import BUCKET_ROWS, Candidates, band_values, bands_for
from tasks.similarity.minhash import Shingling, jaccard, shingle_hashes, shingle_sets, signatures

CHARACTERS, WORDS = Shingling(unit="characters", size=5), Shingling(unit="words", size=3)


def windows(text: str, shingling: Shingling) -> list[tuple[str, ...]]:
    """The definition: windows of units, a shorter text is its own only window."""
    units = list(text) if shingling.unit == "characters" else re.findall(r"\w+", text)
    if len(units) <= shingling.size:
        return [tuple(units)] if units else []
    return [tuple(units[i : i + shingling.size]) for i in range(len(units) - shingling.size + 1)]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.text(alphabet="ab _ß.é🙂\n", max_size=18), max_size=8),
    st.sampled_from(["characters", "words"]),
    st.integers(1, 6),
)
def test_sets_are_those_of_the_definition(texts: list[str], unit: str, size: int) -> None:
    shingling = Shingling(unit=unit, size=size)  # type: ignore[arg-type]
    _, bounds = shingle_hashes(texts, shingling)
    assert [b - a for a, b in pairwise(bounds)] == [len(windows(t, shingling)) for t in texts]
    sets, wanted = shingle_sets(texts, shingling), [set(windows(t, shingling)) for t in texts]
    for i in range(len(texts)):
        for j in range(len(texts)):
            union = len(wanted[i] | wanted[j])
            true = len(wanted[i] & wanted[j]) / union if wanted[i] and wanted[j] else 0.0
            assert jaccard(sets[i], sets[j]) == pytest.approx(true)


def test_every_letter_of_every_script_is_part_of_a_word() -> None:
    text = "".join(chr(c) + " " for c in range(0x20, 0x30000, 7) if not 0xD800 <= c < 0xE000)
    hashes, _ = shingle_hashes([text], Shingling(unit="words", size=1))
    assert len(hashes) == len(re.findall(r"\w+", text))


def test_batches_do_not_change_the_result() -> None:
    rng = random.Random(1)
    texts = ["".join(rng.choices("abcdef ", k=rng.randrange(0, 90_000))) for _ in range(12)]
    alone = np.concatenate([signatures([t], CHARACTERS, 32) for t in texts])
    assert (signatures(texts, CHARACTERS, 32) == alone).all()


def test_hashes_are_the_same_in_every_process() -> None:
    assert shingle_hashes(["abcde"], CHARACTERS)[0].tolist() == [9484752026974635407]
    assert signatures(["abcdef"], CHARACTERS, 2).tolist() == [[52233434, 1568709728]]


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("shingling", [CHARACTERS, WORDS])
def test_signatures_estimate_jaccard(share: float, shingling: Shingling) -> None:
    rng = random.Random(5)
    words = [f"w{rng.randrange(5000)}" for _ in range(600)]
    changed = [w if rng.random() > share else "x" + w for w in words]
    texts = [" ".join(words), " ".join(changed)]
    one, other = signatures(texts, shingling, 1024)
    true = jaccard(*shingle_sets(texts, shingling))
    assert abs(float((one == other).mean()) - true) < 4 * (true * (1 - true) / 1024) ** 0.5 + 1e-9


# --- bands and candidates -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("threshold", "cut"), [(0.5, (42, 3)), (0.8, (21, 6)), (0.9, (12, 10)), (1.0, (1, 128))])
def test_bands_find_what_is_at_the_threshold(threshold: float, cut: tuple[int, int]) -> None:
    found = bands_for(threshold, 128)
    assert tuple(found) == cut
    assert found.recall(threshold) >= 0.99


def test_too_few_permutations() -> None:
    with pytest.raises(ValueError, match="find less than"):
        bands_for(0.2, 4)


def pairs_of(texts: list[str], salts: list[int] | None = None) -> tuple[list[tuple[int, int]], Candidates]:
    made = signatures(texts, CHARACTERS, 128)
    values = band_values(made, bands_for(0.8, 128), np.array(salts or [0] * len(texts), dtype=np.uint64))
    candidates = Candidates(values)
    return [(a, b) for part in candidates.pairs() for a, b in part.tolist()], candidates


def test_each_pair_comes_once_and_in_order() -> None:
    rng = random.Random(3)
    base = ["".join(rng.choices("abcdefghij ", k=300)) for _ in range(30)]
    pairs, candidates = pairs_of([*base, *(t + "x" for t in base), *(t + "xy" for t in base)])
    assert len(pairs) == len(set(pairs)) == candidates.found
    assert set(pairs) >= {(n, n + 30) for n in range(30)} | {(n, n + 60) for n in range(30)}
    assert all(a < b for a, b in pairs)
    assert candidates.crowded == 0


def test_other_scopes_never_meet() -> None:
    assert pairs_of(["the same text"] * 2, salts=[1, 2])[0] == []


def test_a_crowd_costs_linear_work_and_hides_no_pair_that_has_more_in_common() -> None:
    rng = random.Random(7)
    frame = "".join(rng.choices("abcdefghij ", k=400))
    tails = ["".join(rng.choices("klmnopqrst ", k=150)) for _ in range(4 * BUCKET_ROWS)]
    texts = [frame + tail for tail in tails]
    texts += [text + "!" for text in texts[:50]]
    pairs, candidates = pairs_of(texts)
    assert candidates.crowded > 150
    found = sum((n, n + len(tails)) in set(pairs) for n in range(50))
    assert found >= 49
