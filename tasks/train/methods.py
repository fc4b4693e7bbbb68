"""Which objective a method of training has."""

from __future__ import annotations

from typing import Any

from tasks.errors import UsageError
from tasks.train.objective import Objective
from tasks.train.recipe import Recipe
from tasks.train.sft import Supervised


def objective_of(recipe: Recipe, max_tokens: int, pad: int) -> Objective[Any]:
    """The objective of a recipe.

    Args:
        max_tokens: longest sequence that the model can read.
        pad: token that fills short rows of a batch; never learned.
    """
    if recipe.method != "sft":
        raise UsageError(f"the method {recipe.method} is not available", where="train.method")
    return Supervised(recipe, max_tokens, pad)
