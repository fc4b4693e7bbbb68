"""Which objective a method of training has, and how its base weights are stored."""

from __future__ import annotations

from typing import Any

from tasks.contracts import Quantization
from tasks.errors import UsageError
from tasks.train.config import Adapter, Method
from tasks.train.grpo import GroupRelative
from tasks.train.kto import Kto
from tasks.train.objective import Objective
from tasks.train.preference import Preferences
from tasks.train.recipe import Recipe
from tasks.train.sft import Supervised

_OBJECTIVES: dict[Method, type[Objective[Any]]] = {
    "sft": Supervised,
    "dpo": Preferences,
    "ipo": Preferences,
    "kto": Kto,
    "grpo": GroupRelative,
}


def objective_of(recipe: Recipe, max_tokens: int, pad: int) -> Objective[Any]:
    """The objective of a recipe.

    Args:
        max_tokens: longest sequence that the model can read.
        pad: token that fills short rows of a batch; never learned.
    """
    if recipe.method == "sft":
        return Supervised(recipe, max_tokens, pad)
    if recipe.loss_on != "completion":
        raise UsageError(
            "train.loss_on has to be completion with this method",
            where="train.loss_on",
            why=f"{recipe.method} compares whole answers; {recipe.loss_on} would count other turns as well",
            remedy="leave train.loss_on out",
        )
    if recipe.method == "kto":
        return Kto(recipe, max_tokens, pad)
    if recipe.method in ("dpo", "ipo"):
        return Preferences(recipe, max_tokens, pad)
    if recipe.early_stopping_evals:
        raise UsageError(
            "early stopping has no meaning with grpo",
            where="train.early_stopping_evals",
            why="its loss says nothing about how good the answers are",
            remedy="set train.early_stopping_evals to 0",
        )
    return GroupRelative(recipe, max_tokens, pad)


def measured_by(method: Method) -> tuple[str, ...]:
    """What a method measures on rows that it does not learn, beside the loss there."""
    return _OBJECTIVES[method].measured


def quantization_of(adapter: Adapter) -> Quantization:
    """How the frozen base weights are stored beside an adapter of this kind."""
    if adapter == "qlora":
        return "nf4"
    return "int8" if adapter == "lora_8bit" else "none"
