"""The presets are those that are promised, explained, and sweep where they say so."""

from __future__ import annotations

from typing import get_args

import pytest

from tasks.train.config import Preset, TrainConfig
from tasks.train.presets import BASE, EXPLANATIONS, PRESETS, preset_value, swept
from tasks.train.recipe import Facts, resolve_recipe

FACTS = Facts(rows=5_000, parameters=7_000_000_000)


def test_every_preset_is_there_and_explained() -> None:
    assert set(get_args(Preset)) == set(PRESETS) == set(EXPLANATIONS)
    assert all(len(text) > 40 for text in EXPLANATIONS.values())


@pytest.mark.parametrize(
    ("preset", "rank", "rate", "epochs"),
    [
        ("quick-start", 8, 2e-4, 1),
        ("conservative", 8, 1e-4, 2),
        ("balanced", 16, 2e-4, 3),
        ("aggressive", 32, 3e-4, 4),
        ("quality", 16, 2e-4, 5),
        ("cost", 16, 2e-4, 1),
    ],
)
def test_what_a_preset_sets(preset: Preset, rank: int, rate: float, epochs: float) -> None:
    recipe = resolve_recipe(TrainConfig(preset=preset), FACTS).recipe
    assert (recipe.rank, recipe.alpha, recipe.learning_rate, recipe.epochs) == (rank, 2 * rank, rate, epochs)


def test_cost_has_fewer_epochs_and_larger_batches_than_the_default() -> None:
    cost, usual = (resolve_recipe(TrainConfig(preset=p), FACTS).recipe for p in ("cost", "balanced"))
    assert cost.epochs < usual.epochs
    assert cost.batch_rows > usual.batch_rows


def test_what_a_preset_leaves_out_is_the_same_in_all() -> None:
    assert preset_value(TrainConfig(preset="cost"), "warmup_share") == BASE["warmup_share"]
    assert preset_value(TrainConfig(), "seed") is None


def test_only_quality_sweeps_and_only_what_is_open() -> None:
    assert swept(TrainConfig(), 2e-4) == {}
    assert swept(TrainConfig(preset="quality"), 2e-4) == {"learning_rate": (2e-4, 1e-4, 4e-4), "rank": (16, 32)}
    assert swept(TrainConfig(preset="quality", rank=8), 2e-4) == {"learning_rate": (2e-4, 1e-4, 4e-4)}
    assert swept(TrainConfig(preset="quality", learning_rate=1e-3, rank="auto"), 1e-3) == {"rank": (16, 32)}
    assert swept(TrainConfig(preset="quality", adapter="full", learning_rate=1e-5), 1e-5) == {}
