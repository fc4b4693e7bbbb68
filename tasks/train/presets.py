"""What each preset sets, and for whom it is."""

from __future__ import annotations

from typing import Any

from tasks.train.config import Preset

# What no preset changes.
BASE: dict[str, Any] = {
    "dropout": 0.0,
    "target_modules": ("all-linear",),
    "warmup_share": 0.05,
    "weight_decay": 0.0,
    "max_gradient_norm": 1.0,
    "batch_rows": 16,
    "micro_batch_rows": 16,
    "beta": 0.1,
    "validation_share": 0.0,
    "eval_steps": 20,
    "early_stopping_evals": 0,
}
PRESETS: dict[Preset, dict[str, Any]] = {
    "quick-start": {"rank": 8, "alpha": 16, "learning_rate": 2e-4, "epochs": 1.0},
    "conservative": {"rank": 8, "alpha": 16, "learning_rate": 1e-4, "epochs": 2.0},
    "balanced": {"rank": 16, "alpha": 32, "learning_rate": 2e-4, "epochs": 3.0},
    "aggressive": {"rank": 32, "alpha": 64, "learning_rate": 3e-4, "epochs": 4.0},
    "quality": {"rank": 16, "alpha": 32, "learning_rate": 2e-4, "epochs": 5.0},
    "cost": {"rank": 16, "alpha": 32, "learning_rate": 2e-4, "epochs": 1.0, "batch_rows": 32},
}
