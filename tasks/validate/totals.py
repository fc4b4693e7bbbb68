"""The line of totals that rules about the whole dataset look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.contracts import RowCounts

_LABELLED = 0.9  # from this share of short answers on, the answers are taken for labels ...
_LABELS_PER_ROW = 0.2  # ... unless nearly every row has a label of its own
_CONTRADICTIONS = ("contradict", "conflict")


def totals_columns(counts: RowCounts, reasons: Mapping[str, int], kept: Any) -> dict[str, Any]:
    """One line: rows_in, accounted_for, quarantined_share, contradictions, and the variety of the kept rows.

    Args:
        kept: lines of `tasks.validate.measures.MEASURES` of the rows that are kept.
    """
    classes = class_sizes(kept)
    values = {
        "rows_in": counts.rows_in,
        "accounted_for": counts.kept + counts.merged + counts.quarantined,
        "quarantined_share": counts.quarantined / max(1, counts.rows_in),
        "contradictions": sum(n for code, n in reasons.items() if code.startswith(_CONTRADICTIONS)),
        "distinct_prompts_share": len(np.unique(kept["prompt_hash"])) / max(1, len(kept)),
        "distinct_answers": len(np.unique(kept["answer_hash"])),
        "largest_class_share": classes.max() / len(kept) if len(classes) else np.nan,
        "smallest_class_rows": float(classes.min()) if len(classes) else np.nan,
    }
    return {name: np.array([value]) for name, value in values.items()}


def class_sizes(kept: Any) -> Any:
    """Rows of each label; empty where the answers are not labels."""
    if not len(kept) or np.mean(kept["label_chars"] > 0) < _LABELLED:
        return np.array([], dtype=np.int64)
    _, sizes = np.unique(kept["answer_hash"], return_counts=True)
    return sizes if len(sizes) <= max(2, _LABELS_PER_ROW * len(kept)) else np.array([], dtype=np.int64)


def language_shares(kept: Any) -> dict[str, float]:
    """Language → share of the rows that were looked at, the largest first."""
    seen = kept["language"][kept["language"] != b""]
    codes, numbers = np.unique(seen, return_counts=True)
    ranked = sorted(zip(codes.tolist(), numbers.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
    return {code.decode(): number / len(seen) for code, number in ranked}
