from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.similarity.near import near_pairs_between, shingles


def jaccard(a: str, b: str, size: int) -> float:
    one, two = shingles(a, size), shingles(b, size)
    return len(one & two) / len(one | two) if one | two else 0.0


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.text(alphabet="abc ", max_size=14), max_size=14),
    st.sampled_from([0.3, 0.5, 0.8, 1.0]),
    st.integers(2, 4),
)
def test_pairs_are_exactly_those_of_the_definition(texts: list[str], threshold: float, size: int) -> None:
    left, right = texts[::2], texts[1::2]
    wanted = {
        (i, j)
        for i in range(len(left))
        for j in range(len(right))
        if jaccard(left[i], right[j], size) >= threshold - 1e-9
    }
    found = near_pairs_between(left, right, threshold, size)
    assert {(p.left, p.right) for p in found} == wanted
    assert all(abs(p.similarity - jaccard(left[p.left], right[p.right], size)) < 1e-9 for p in found)


def test_pairs_between_lists_beyond_one_block() -> None:
    rng = random.Random(1)
    left = ["".join(rng.choices("abcdefghij", k=30)) for _ in range(1500)]
    right = [left[1400] + "x", "nothing like it"]
    assert [(p.left, p.right) for p in near_pairs_between(left, right, 0.8, 5)] == [(1400, 0)]


def test_shingles_of_short_texts() -> None:
    assert shingles("abc", 5) == {"abc"}
    assert shingles("", 5) == set()
    assert shingles("abcdef", 5) == {"abcde", "bcdef"}


def test_no_texts_no_pairs() -> None:
    assert near_pairs_between([], [], 0.5, 3) == []
    assert near_pairs_between([""], [""], 0.5, 3) == []
    assert near_pairs_between(["a"], [], 0.5, 3) == []
