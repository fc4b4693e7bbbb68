"""The value that every field of a training ends up with, where it came from and why. Pure.

A value that a person gave counts; `auto` is worked out from data and model; what was left out has the preset's value.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from pydantic import Field

from tasks.contracts import Record
from tasks.train.automatic import AUTOMATIC, Known, rate_share, two_digits
from tasks.train.config import Adapter, Engine, Method, Switch, TrainConfig
from tasks.train.contradictions import given, refuse_contradictions, unused
from tasks.train.familiar import unfamiliar
from tasks.train.presets import PRESETS, preset_value, swept


class Facts(Record):
    """What automatic values depend on. Nothing about the machine: the same data and model give the same recipe."""

    rows: int = Field(ge=0, description="Training rows of the dataset version.")
    parameters: int = Field(ge=0, description="Weights of the base model.")


class Recipe(Record):
    """Every value of one training. What the trainer process reads."""

    method: Method = "sft"
    start_from: str | None = None
    adapter: Adapter = "qlora"
    rslora: bool = False
    rank: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ("all-linear",)
    learning_rate: float = Field(1e-3, gt=0, allow_inf_nan=False)
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
    samples_per_prompt: int = 4
    answer_tokens: int = 128
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
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    engine: Engine = "auto"
    processes: int | None = None
    max_attempts: int = 5
    timeout_minutes: float = 1440
    max_cost: float | None = None

    def learning_part(self) -> dict[str, Any]:
        """The values that decide what comes out: all but how long to wait, how often to save and to try.

        What training starts from counts by its content, which is told apart from this, and not by where it lies.
        """
        return self.model_dump(mode="json", exclude={*_OPERATIONAL, "start_from"})


_OPERATIONAL = ("checkpoint_steps", "max_attempts", "timeout_minutes", "max_cost")


class Valued(NamedTuple):
    """A field's value and where it came from. `auto` stands where a fact is missing that it depends on."""

    value: Any
    origin: str


class Resolved(Record):
    """A recipe, for each of its values where it came from, and what is unusual about it."""

    recipe: Recipe
    origins: dict[str, str] = Field(description="field → given, default, preset NAME, every preset, auto: reason.")
    warnings: tuple[str, ...] = Field((), description="Values outside of their familiar range: taken as they are.")

    def notes(self) -> dict[str, str]:
        """Value and origin of every field, and what is unusual, as the record of a training keeps them."""
        said = {name: f"{_shown(getattr(self.recipe, name))} ({origin})" for name, origin in self.origins.items()}
        return said | ({"unusual": "; ".join(self.warnings)} if self.warnings else {})


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else "none" if value is None else str(value)


def resolve_recipe(config: TrainConfig, facts: Facts) -> Resolved:
    """The recipe of a configuration for this data and model.

    Raises:
        UsageError: values contradict one another.
    """
    refuse_contradictions(config)
    valued = explain(config, facts.rows, facts.parameters)
    recipe = Recipe.model_validate({name: found.value for name, found in valued.items()})
    return Resolved(
        recipe=recipe,
        origins={name: found.origin for name, found in valued.items()},
        warnings=unfamiliar(recipe.model_dump(), facts.rows, facts.parameters),
    )


def explain(config: TrainConfig, rows: int | None, parameters: int | None) -> dict[str, Valued]:
    """Every field of the recipe with its value and origin, as far as they are known: None is not known yet.

    Fields that other values depend on come first, the order of the recipe is kept in the answer.
    """
    told, idle = given(config), unused(config)
    first = [name for name in Recipe.model_fields if name not in AUTOMATIC]
    found: dict[str, Valued] = {}
    for name in (*first, *AUTOMATIC):
        known = Known(rows, parameters, {settled: f.value for settled, f in found.items()})
        valued = _valued(config, name, told, known)
        found[name] = valued._replace(origin=f"{valued.origin} ({idle[name]})") if name in idle else valued
    return {name: found[name] for name in Recipe.model_fields}


def _valued(config: TrainConfig, name: str, told: set[str], known: Known) -> Valued:
    value = getattr(config, name)
    if name in told:
        return _worked_out(name, known, "") if value == "auto" and name in AUTOMATIC else Valued(value, "given")
    if value is not None or not _belongs_to_preset(config, name):
        return Valued(value, "default")
    valued = _of_preset(config, name, known)
    note = "; `tuneloop sweep` tries others" if name in swept(config, 1.0) else ""
    return valued._replace(origin=valued.origin + note)


def _belongs_to_preset(config: TrainConfig, name: str) -> bool:
    return name in AUTOMATIC or preset_value(config, name) is not None


def _of_preset(config: TrainConfig, name: str, known: Known) -> Valued:
    value = preset_value(config, name)
    origin = f"preset {config.preset}" if name in PRESETS[config.preset] else "every preset"
    if value == "auto":
        return _worked_out(name, known, f"{origin}, ")
    if name == "early_stopping_evals" and value and (config.method == "grpo" or not known.values["validation_share"]):
        return Valued(0, f"{origin}, none without a validation loss to compare")
    if name == "learning_rate":
        share, words = rate_share(config.adapter, config.method)
        return Valued(two_digits(value * share), f"{origin}, {words}" if words else origin)
    return Valued(value, origin)


def _worked_out(name: str, known: Known, before: str) -> Valued:
    worked = AUTOMATIC[name].work_out(known)
    if worked is None:
        return Valued("auto", f"{before}auto: {AUTOMATIC[name].words}; worked out when data and model are known")
    return Valued(worked[0], f"{before}auto: {worked[1]}")
