"""Familiar ranges of the fields: guides, not caps. A value outside is taken, and said with the training. Pure."""

from __future__ import annotations

from typing import Any

from tasks.train.automatic import AUTOMATIC, Known

RANGES: dict[str, tuple[float, float]] = {
    "rank": (8, 64),
    "dropout": (0, 0.2),
    "warmup_share": (0, 0.2),
    "weight_decay": (0, 0.1),
    "max_gradient_norm": (0.1, 5),
    "epochs": (0.5, 10),
    "batch_rows": (4, 512),
    "micro_batch_rows": (1, 64),
    "sequence_tokens": (128, 32_768),
    "beta": (0.01, 0.9),
    "validation_share": (0, 0.2),
    "early_stopping_evals": (0, 10),
    "checkpoint_steps": (1, 500),
    "max_attempts": (1, 20),
}
# Fields whose familiar range depends on others: in words here, in numbers below.
RELATIVE: dict[str, str] = {
    "alpha": "½ to 4 × the rank",
    "learning_rate": "⅒ to 10 × the automatic one",
}


def unfamiliar(values: dict[str, Any], rows: int, parameters: int) -> tuple[str, ...]:
    """A sentence for each value that is outside of its familiar range."""
    found = [
        f"{name} {values[name]:g} is outside of the familiar {low:g} to {high:g}"
        for name, (low, high) in RANGES.items()
        if values.get(name) is not None and not low <= values[name] <= high
    ]
    return (*found, *_relative(values, rows, parameters))


def _relative(values: dict[str, Any], rows: int, parameters: int) -> list[str]:
    found = []
    usual = AUTOMATIC["learning_rate"].work_out(Known(rows, parameters, values))
    rate = values["learning_rate"]
    if usual and not usual[0] / 10 <= rate <= usual[0] * 10:
        found.append(f"learning_rate {rate:g} is far from the usual {usual[0]:g} ({usual[1]})")
    if values["adapter"] != "full" and not values["rslora"] and not 0.5 <= values["alpha"] / values["rank"] <= 4:
        found.append(f"alpha {values['alpha']} is not between half and four times rank {values['rank']}")
    return found
