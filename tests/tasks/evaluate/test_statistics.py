from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.evaluate.statistics import bootstrap, mean_interval, paired_difference, tango

SCORES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30)
RIGHT_OR_WRONG = st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0])), min_size=1, max_size=30)


def test_wilson_as_in_newcombe_1998() -> None:
    """Newcombe 1998, Statistics in Medicine 17:857, table I: 81/263, 15/148, 0/20, 1/29."""
    for right, rows, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        found = mean_interval([1.0] * right + [0.0] * (rows - right))
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_tango_as_in_fagerland_2014() -> None:
    """Fagerland, Lydersen, Laake 2014, Statistics in Medicine 33:2850, airway hyper-responsiveness data."""
    found = tango(gains=1, losses=7, rows=21)
    assert (found.mean, found.low, found.high) == pytest.approx((-0.2857, -0.517, -0.026), abs=5e-4)


def test_tango_at_the_edges() -> None:
    nothing = tango(0, 0, 100)
    assert nothing.low == pytest.approx(-nothing.high)
    assert 0.03 < nothing.high < 0.05
    everything = tango(100, 0, 100)
    assert (everything.mean, everything.high) == (1.0, 1.0)
    assert 0.9 < everything.low < 1.0
    assert tango(0, 0, 0).low == -1.0


def test_tango_never_falls_when_a_row_improves() -> None:
    """Exhaustive: one more gain or one loss less never lowers the lower bound."""
    for rows in (1, 2, 7, 30):
        for gains in range(rows + 1):
            for losses in range(rows + 1 - gains):
                low = tango(gains, losses, rows).low
                if gains + losses < rows:
                    assert tango(gains + 1, losses, rows).low >= low - 1e-8
                if losses:
                    assert tango(gains, losses - 1, rows).low >= low - 1e-8


@settings(deadline=None, max_examples=60)
@given(st.one_of(SCORES, RIGHT_OR_WRONG), st.integers(0, 5))
def test_intervals_hold_their_mean_and_ignore_the_order(pairs: list[tuple[float, float]], seed: int) -> None:
    shares = all(x in (0.0, 1.0) for pair in pairs for x in pair)
    found = paired_difference([a for a, _ in pairs], [b for _, b in pairs], seed, shares=shares)
    assert -1 <= found.low <= found.mean <= found.high <= 1
    shuffled = random.Random(seed).sample(pairs, len(pairs))
    again = paired_difference([a for a, _ in shuffled], [b for _, b in shuffled], seed, shares=shares)
    assert (again.low, again.high) == (found.low, found.high)
    mean = mean_interval([a for a, _ in pairs])
    assert 0 <= mean.low <= mean.mean <= mean.high <= 1


@settings(deadline=None, max_examples=60)
@given(SCORES, st.integers(0, 29), st.floats(0, 1))
def test_better_answers_never_lower_the_bound(pairs: list[tuple[float, float]], place: int, better: float) -> None:
    candidate, other = [a for a, _ in pairs], [b for _, b in pairs]
    improved = list(candidate)
    improved[place % len(improved)] = max(better, improved[place % len(improved)])
    assert bootstrap_low(improved, other) >= bootstrap_low(candidate, other) - 1e-12


def bootstrap_low(candidate: list[float], other: list[float]) -> float:
    return bootstrap([a - b for a, b in zip(candidate, other, strict=True)], 17).low


def test_the_bootstrap_covers_and_is_seeded() -> None:
    source = random.Random(3)
    hits = 0
    for trial in range(200):
        values = [source.uniform(-0.5, 0.7) for _ in range(60)]
        found = bootstrap(values, trial)
        hits += found.low <= 0.1 <= found.high
    assert 178 <= hits <= 200
    assert bootstrap(values, 1) == bootstrap(values[::-1], 1) != bootstrap(values, 2)
    assert (bootstrap([0.5], 1).low, bootstrap([], 1).high) == (-1.0, 1.0)
