"""The quality score of a row: a weighted sum of eight marks, 0 (nothing is right) to 100.

The table stands in docs/data-quality.md. Weights and scales are fixed, whatever the limits of a run are, so that scores
of two datasets can be compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np

WEIGHTS = {
    "repetition": 25,
    "completeness": 20,
    "variety": 15,
    "length": 10,
    "placeholders": 10,
    "encoding": 10,
    "toxicity": 5,
    "language": 5,
}
_WORST_REPETITION = 0.5
_BEST_VARIETY = 0.5
_GOOD_LENGTH = 20  # tokens
_WORST_PLACEHOLDERS = 0.5
_WORST_TOXICITY = 0.1


def marks(numbers: Any) -> dict[str, Any]:
    """Each mark as an array of 0..1, from the columns of `tasks.validate.measures`."""
    complete = np.where(numbers["unfinished_answer"], 0.5, 1.0)
    return {
        "repetition": 1 - np.minimum(1, numbers["repeated_share"] / _WORST_REPETITION),
        "completeness": np.where(numbers["cut_answer"] | (numbers["answer_chars"] == 0), 0.0, complete),
        "variety": np.minimum(1, numbers["distinct_words_share"] / _BEST_VARIETY),
        "length": np.minimum(1, numbers["tokens"] / _GOOD_LENGTH),
        "placeholders": 1 - np.minimum(1, numbers["placeholder_share"] / _WORST_PLACEHOLDERS),
        "encoding": np.where(numbers["encoding_damage"] > 0, 0.0, 1.0),
        "toxicity": 1 - np.minimum(1, numbers["toxicity"] / _WORST_TOXICITY),
        "language": np.where(numbers["language_ok"], 1.0, 0.0),
    }


def quality(numbers: Any) -> Any:
    """Scores as whole numbers."""
    found = marks(numbers)
    total = sum(weight * found[name] for name, weight in WEIGHTS.items())
    return np.floor(total + 0.5).astype(np.uint8)
