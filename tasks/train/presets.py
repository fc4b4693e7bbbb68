"""What each preset sets, for whom it is, and which of its settings a small sweep chooses."""

from __future__ import annotations

from typing import Any

from tasks.train.config import Method, Preset, TrainConfig

# What no preset changes. `auto` is worked out as if a person had asked for it.
BASE: dict[str, Any] = {
    "alpha": "auto",
    "dropout": 0.0,
    "target_modules": ("all-linear",),
    "learning_rate": "auto",
    "warmup_share": 0.05,
    "weight_decay": 0.0,
    "max_gradient_norm": 1.0,
    "batch_rows": 16,
    "micro_batch_rows": "auto",
    "sequence_tokens": "auto",
    "beta": 0.1,
    "validation_share": 0.0,
    "eval_steps": "auto",
    "early_stopping_evals": 0,
}
# The distance to the start that a method is published with: 0.04 is that of DeepSeekMath (Shao et al. 2024).
METHOD_BASE: dict[Method, dict[str, Any]] = {"grpo": {"beta": 0.04}}
PRESETS: dict[Preset, dict[str, Any]] = {
    "quick-start": {"rank": 8, "epochs": 1.0},
    "conservative": {"rank": 8, "learning_rate": 1e-4, "epochs": 2.0},
    "balanced": {"rank": 16, "learning_rate": 2e-4, "epochs": 3.0},
    "aggressive": {"rank": 32, "learning_rate": 3e-4, "epochs": 4.0},
    "quality": {"rank": 16, "epochs": 5.0, "validation_share": 0.1, "early_stopping_evals": 3},
    "cost": {"rank": 16, "epochs": 1.0, "batch_rows": 32},
}
EXPLANATIONS: dict[Preset, str] = {
    "quick-start": "One pass with a small adapter: a first look at whether the data teaches anything.",
    "conservative": "A small adapter and a low rate: little data, or a model that must keep what it can.",
    "balanced": "What works for most data with models of 1 to 13 billion weights; the default.",
    "aggressive": "A larger adapter, a higher rate, more passes: much data, or a task far from what the model knows.",
    "quality": "Five passes with early stopping; a small sweep chooses rate and rank by validation (grpo: by reward).",
    "cost": "One pass in larger batches: fewer and fuller steps for the same rows.",
}
_RATE_FACTORS = (0.5, 1.0, 2.0)
_SWEPT_RANKS = (16, 32)


def preset_value(config: TrainConfig, name: str) -> Any:
    """What the configuration's preset sets for a field; None where presets say nothing about it.

    Rates of presets are those of adapters and of answers that are learned: `automatic.rate_share` says what other
    adapters and methods take of them.
    """
    base = BASE | METHOD_BASE.get(config.method, {})
    return PRESETS[config.preset].get(name, base.get(name))


def swept(config: TrainConfig, learning_rate: float) -> dict[str, tuple[Any, ...]]:
    """The small grid that a preset wants tried: field → its values, most promising first. Empty: no sweep.

    Only `quality` sweeps, and only over what the person left open. `space.metric_of` says what trials are compared by.

    Args:
        learning_rate: the recipe's own, in the middle of the grid.
    """
    if config.preset != "quality":
        return {}
    grid: dict[str, tuple[Any, ...]] = {}
    if config.learning_rate in (None, "auto"):
        grid["learning_rate"] = tuple(sorted((f * learning_rate for f in _RATE_FACTORS), key=_from(learning_rate)))
    if config.rank in (None, "auto") and config.adapter != "full":
        grid["rank"] = _SWEPT_RANKS
    return grid


def _from(middle: float) -> Any:
    return lambda value: abs(value - middle)
