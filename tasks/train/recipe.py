"""The value that every field of a training ends up with, where it came from and why. Pure.

A value that a person gave counts; `auto` is worked out from data and model; what was left out has the preset's value.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from tasks.contracts import Record
from tasks.errors import UsageError
from tasks.train.config import Adapter, Engine, Method, Preset, Switch, TrainConfig
from tasks.train.presets import BASE, PRESETS


class Facts(Record):
    """What automatic values depend on. Nothing about the machine: the same data and model give the same recipe."""

    rows: int = Field(ge=0, description="Training rows of the dataset version.")
    parameters: int = Field(ge=0, description="Weights of the base model.")


class Recipe(Record):
    """Every value of one training. What the trainer process reads."""

    method: Method = "sft"
    adapter: Adapter = "qlora"
    rslora: bool = False
    rank: int = Field(16, ge=1, le=1024)
    alpha: int = Field(32, ge=1)
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ("all-linear",)
    learning_rate: float = Field(1e-3, gt=0, le=0.1)
    warmup_share: float = 0.05
    weight_decay: float = 0.0
    max_gradient_norm: float = 1.0
    epochs: float = Field(2.0, gt=0)
    batch_rows: int = Field(16, ge=1)
    micro_batch_rows: int = Field(16, ge=1)
    max_rows: int | None = None
    sequence_tokens: int | None = Field(None, description="None: as long as the model can read.")
    packing: Switch = "auto"
    loss_on: Literal["completion", "assistant", "all"] = "completion"
    beta: float = 0.1
    validation_share: float = 0.0
    eval_steps: int = 20
    early_stopping_evals: int = 0
    seed: int = 17
    checkpoint_steps: int = 10
    fused_layers: Switch = "auto"
    learned_head: Switch = "auto"
    compile: Switch = "auto"
    expand_nf4: Switch = "auto"
    activation_checkpointing: Switch = "auto"
    engine: Engine = "auto"
    processes: int | None = None
    max_attempts: int = 5
    timeout_minutes: float = 1440
    max_cost: float | None = None

    def learning_part(self) -> dict[str, Any]:
        """The values that decide what comes out: all but how long to wait, how often to save and to try."""
        return self.model_dump(mode="json", exclude=set(_OPERATIONAL))


class Resolved(Record):
    """A recipe, and for each of its values where it came from."""

    recipe: Recipe
    origins: dict[str, str] = Field(description="field → 'given', 'preset balanced', or 'auto: <reason>'.")


_OPERATIONAL = ("checkpoint_steps", "max_attempts", "timeout_minutes", "max_cost")


def resolve_recipe(config: TrainConfig, facts: Facts) -> Resolved:
    """The recipe of a configuration for this data and model.

    Raises:
        UsageError: values contradict one another, or lie outside what is possible.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    preset = PRESETS[config.preset]
    for name in Recipe.model_fields:
        given = getattr(config, name)
        values[name] = preset.get(name, BASE.get(name)) if given is None else given
        origins[name] = f"preset {config.preset}" if given is None else "given"
    recipe = Recipe.model_validate(values)
    if recipe.batch_rows % recipe.micro_batch_rows:
        raise UsageError("train.micro_batch_rows must divide train.batch_rows", where="train.micro_batch_rows")
    return Resolved(recipe=recipe, origins=origins)


def preset_names() -> tuple[Preset, ...]:
    """All presets, in the order in which they are explained."""
    return tuple(PRESETS)
