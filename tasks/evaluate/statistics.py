"""Confidence intervals, two-sided 95%, for means of scores and for paired differences of scores in 0..1.

All of them depend only on the multiset of scores, never on the order of the rows, and the lower bound of a paired
difference never falls when one of the candidate's scores rises: better answers cannot turn a pass into a refusal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tasks.contracts import Estimate

CONFIDENCE = 0.95
_RESAMPLES = 4000
_CHUNK = 500
_TOLERANCE = 1e-9


def mean_interval(scores: Sequence[float]) -> Estimate:
    """Mean of scores in 0..1 with Wilson's score interval (Wilson 1927, JASA 22:209-212).

    For shares of right rows this is the exact use. For scores between 0 and 1 the variance is at most p(1-p), so that
    the same interval is conservative there; and unlike a bootstrap it does not collapse when all scores are equal.
    """
    n, z = len(scores), _z()
    if not n:
        return Estimate(mean=0.0, low=0.0, high=1.0)
    p = math.fsum(scores) / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(max(0.0, p * (1 - p)) / n + z * z / (4 * n * n))
    return Estimate(mean=p, low=min(p, max(0.0, centre - half)), high=max(p, min(1.0, centre + half)))


def paired_difference(candidate: Sequence[float], other: Sequence[float], seed: int, *, shares: bool) -> Estimate:
    """Mean of `candidate - other` over the same rows, with interval.

    Args:
        shares: scores are right (1) or wrong (0): Tango's score interval. Otherwise: percentile bootstrap over rows.
            The metric decides, not the data, so that one changed row cannot change the method.
    """
    differences = sorted(c - o for c, o in zip(candidate, other, strict=True))
    if shares:
        return tango(differences.count(1.0), differences.count(-1.0), len(differences))
    return bootstrap(differences, seed)


def tango(gains: int, losses: int, rows: int) -> Estimate:
    """Interval of a paired difference of proportions by inverting the score test.

    Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design", Statistics in Medicine 17:891-908; it generalises McNemar's test (the case of a zero difference).

    Args:
        gains: rows that only the candidate has right.
        losses: rows that only the other has right.
        rows: all compared rows.
    """
    from scipy.optimize import brentq

    if rows == 0:
        return Estimate(mean=0.0, low=-1.0, high=1.0)
    mean, z, edge = (gains - losses) / rows, _z(), 1 - 1e-12

    def beyond(delta: float, sign: int) -> float:
        return abs(_tango_score(gains, losses, rows, delta)) - z if sign * (delta - mean) > 0 else -z

    low = -1.0 if beyond(-edge, -1) < 0 else brentq(lambda d: beyond(d, -1), -edge, mean, xtol=_TOLERANCE)
    high = 1.0 if beyond(edge, 1) < 0 else brentq(lambda d: beyond(d, 1), mean, edge, xtol=_TOLERANCE)
    return Estimate(mean=mean, low=min(low, mean), high=max(high, mean))


def _tango_score(gains: int, losses: int, n: int, delta: float) -> float:
    """Tango's statistic under the hypothesis that the true difference is `delta` (his equations 8 and 9)."""
    b = -gains - losses + (2 * n - gains + losses) * delta
    c = -losses * delta * (1 - delta)
    q = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    variance = n * (2 * q + delta * (1 - delta))
    return (gains - losses - n * delta) / math.sqrt(max(variance, 1e-300))


def bootstrap(differences: Sequence[float], seed: int) -> Estimate:
    """Percentile bootstrap of a mean (Efron & Tibshirani 1993, chapter 13) over sorted values, seeded.

    Sorting first makes it independent of the order of rows. Fewer than two values say nothing about their spread.
    """
    import numpy as np

    values = np.sort(np.asarray(differences, dtype=float))
    if len(values) < 2:
        return Estimate(mean=float(values.mean()) if len(values) else 0.0, low=-1.0, high=1.0)
    random, means = np.random.default_rng(seed), []
    for _ in range(_RESAMPLES // _CHUNK):
        means.append(values[random.integers(0, len(values), (_CHUNK, len(values)))].mean(axis=1))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    mean = float(values.mean())
    return Estimate(mean=mean, low=min(float(low), mean), high=max(float(high), mean))


def _z() -> float:
    from scipy.stats import norm

    return float(norm.ppf((1 + CONFIDENCE) / 2))
