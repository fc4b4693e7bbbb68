"""Whether recent requests differ from what the model was trained on: a two-sample test on what is asked and how long.

A text becomes a vector of hashed word and character 4-gram frequencies of length one, together with its length. The
statistic is the distance between the mean vector of the requests and the mean vector of the training version's prompts
(a maximum mean discrepancy with a linear kernel, Gretton et al. 2012, JMLR 13:723-773), plus the squared standardised
difference of the mean log lengths.

The p-value comes from a permutation test: requests and prompts are pooled, and as many texts as there were requests
are drawn at random, again and again. Were the requests drawn from the same source, theirs would be one of these. A
text that was asked several times counts once, in the mean, in the drawing and in the number of requests that a
decision needs, so that a client that repeats itself is not taken for drift.

With enough requests any test finds differences that mean nothing. A finding therefore also has to be larger, beyond
chance, than the difference between the version's own training and held-out prompts. Pure and seeded.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from tasks.contracts import DriftReport, Record
from tasks.placeholders import PLACEHOLDER

PERMUTATIONS = 999
MAX_TEXTS = 5000
MIN_TERM_REQUESTS = 3
_MAX_NEW_TERMS = 12
_BUCKETS = 4096
_LENGTH_WEIGHT = 0.01
_WORD = re.compile(r"[^\W\d_]{3,}")


class Question(Record):
    """What is to be decided, beside the texts."""

    model: str
    version: int
    dataset: str
    min_requests: int
    p_value: float
    seed: int = 17


class Prompts(Record):
    """What users ask in a dataset version."""

    train: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def every(self) -> tuple[str, ...]:
        return self.train + self.test


class Finding(Record):
    """Two samples compared. `excess` is the statistic beyond what chance gives (its median)."""

    statistic: float
    excess: float
    p_value: float


def compare(requests: Sequence[str], prompts: Prompts, question: Question) -> DriftReport:
    """Judge the requests (redacted texts of what users asked) against the training version's prompts.

    Fewer distinct texts than `question.min_requests` decide nothing: `drifted` is False and `p_value` is None.
    """
    texts = list(dict.fromkeys(requests))
    if len(texts) < question.min_requests or not prompts.train:
        reason = f"requests {len(requests)}, distinct texts among them {len(texts)}"
        reason += f"; at least {question.min_requests} distinct ones are needed to decide anything"
        return _report(question, requests, False, None, (reason,), ())
    found = _test(texts, prompts.every, question.seed)
    own = max(0.0, _test(prompts.test, prompts.train, question.seed).excess) if prompts.test else 0.0
    drifted = found.p_value <= question.p_value and found.excess > own
    terms = new_terms(requests, prompts.every) if drifted else ()
    reasons = _reasons(requests, prompts, found, own, drifted, question)
    if terms:
        reasons += (f"words that training did not hold: {', '.join(terms)}",)
    return _report(question, requests, drifted, found, reasons, terms)


def _test(sample: Sequence[str], reference: Sequence[str], seed: int) -> Finding:
    """Compare a sample with a reference; of each at most MAX_TEXTS texts."""
    asked, known = list(dict.fromkeys(sample)), list(dict.fromkeys(reference))
    if len(known) > MAX_TEXTS:
        known = random.Random(seed).sample(known, MAX_TEXTS)
    observed, null = statistic_and_null(asked[-MAX_TEXTS:], known, seed)
    p_value = (1 + sum(value >= observed for value in null)) / (1 + len(null))
    return Finding(statistic=observed, excess=observed - sorted(null)[len(null) // 2], p_value=p_value)


def statistic_and_null(
    requests: Sequence[str], prompts: Sequence[str], seed: int, permutations: int = PERMUTATIONS
) -> tuple[float, list[float]]:
    """The statistic of the distinct requests, and of `permutations` random draws from the pooled distinct texts."""
    import numpy as np

    asked, known = list(dict.fromkeys(requests)), list(dict.fromkeys(prompts))
    vectors, lengths = _features([*asked, *known])
    total, total_length, pooled = np.asarray(vectors.sum(axis=0)).ravel(), lengths.sum(), len(asked) + len(known)
    spread = lengths.std() or 1.0

    def distance(chosen: Any) -> float:
        own, own_length = np.asarray(vectors[chosen].sum(axis=0)).ravel(), lengths[chosen].sum()
        words = float(((own / len(asked) - (total - own) / len(known)) ** 2).sum())
        longer = own_length / len(asked) - (total_length - own_length) / len(known)
        return words + _LENGTH_WEIGHT * float(longer / spread) ** 2

    chance = np.random.default_rng(seed)
    null = [distance(chance.permutation(pooled)[: len(asked)]) for _ in range(permutations)]
    return distance(np.arange(len(asked))), null


def _features(texts: Sequence[str]) -> tuple[Any, Any]:
    """Rows of unit length over hashed words and character 4-grams (sparse), and log lengths in characters."""
    import numpy as np
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import HashingVectorizer

    words = HashingVectorizer(n_features=_BUCKETS, analyzer="word", alternate_sign=False, norm="l2")
    pieces = HashingVectorizer(
        n_features=_BUCKETS, analyzer="char_wb", ngram_range=(4, 4), alternate_sign=False, norm="l2"
    )
    stacked = hstack([words.transform(texts), pieces.transform(texts)]).tocsr() / np.sqrt(2)
    return stacked, np.log1p(np.array([len(text) for text in texts], dtype=np.float64))


def new_terms(requests: Sequence[str], prompts: Sequence[str]) -> tuple[str, ...]:
    """Words of at least three different requests that no training prompt holds, the most frequent first.

    Words in fewer requests are left out: they could be someone's name.
    """
    known = {word for text in prompts for word in _words(text)}
    seen = Counter(word for text in set(requests) for word in _words(text) - known)
    frequent = sorted((-count, word) for word, count in seen.items() if count >= MIN_TERM_REQUESTS)
    return tuple(word for _, word in frequent[:_MAX_NEW_TERMS])


def _words(text: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(PLACEHOLDER.sub(" ", text))}


def _reasons(
    requests: Sequence[str], prompts: Prompts, found: Finding, own: float, drifted: bool, question: Question
) -> tuple[str, ...]:
    verdict = "differ from" if drifted else "do not differ from"
    compared = min(MAX_TEXTS, len(set(requests)))
    return (
        f"{len(requests)} requests {verdict} the {len(prompts.every)} prompts of {question.dataset}: "
        f"p = {found.p_value:.3f} (drift from {question.p_value:g} down)",
        f"distinct texts that were compared: {compared}; a text that was asked again counts once",
        f"distance beyond chance {found.excess:.4f}; between its own training and held-out prompts {own:.4f}",
        f"median length {_median_length(set(requests))} characters, in the dataset {_median_length(prompts.every)}",
    )


def _median_length(texts: Collection[str]) -> int:
    return sorted(map(len, texts))[len(texts) // 2]


def _report(
    question: Question,
    requests: Sequence[str],
    drifted: bool,
    found: Finding | None,
    reasons: tuple[str, ...],
    terms: tuple[str, ...],
) -> DriftReport:
    return DriftReport(
        model=question.model,
        version=question.version,
        dataset=question.dataset,
        drifted=drifted,
        p_value=found.p_value if found else None,
        statistic=found.statistic if found else None,
        requests=len(requests),
        reasons=reasons,
        new_terms=terms,
    )


def markdown(report: DriftReport) -> str:
    """The report as people read it."""
    if report.p_value is None:
        verdict = "Not enough different requests to decide"
    else:
        verdict = "**Drift**: retraining is worth a look" if report.drifted else "No drift"
    lines = [f"# {verdict}", "", f"Model `{report.model}` version {report.version}, trained on `{report.dataset}`.", ""]
    lines += [f"- {reason}" for reason in report.reasons]
    if report.drifted:
        lines += ["", "Labelled rows like these requests, added to the sources, let the next training learn them."]
    return "\n".join(lines) + "\n"
