"""Which value each field ends up with, and where it came from."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.errors import UsageError
from tasks.train.config import TrainConfig
from tasks.train.contradictions import contradictions, refuse_contradictions
from tasks.train.recipe import Facts, Recipe, Resolved, explain, resolve_recipe

SMALL = Facts(rows=1200, parameters=135_000_000)
ONLY_CONFIG = {"preset"}


def resolved(facts: Facts = SMALL, **values: Any) -> Resolved:
    return resolve_recipe(TrainConfig.model_validate(values), facts)


def test_every_field_of_the_recipe_can_be_configured() -> None:
    assert set(TrainConfig.model_fields) - ONLY_CONFIG == set(Recipe.model_fields)


def test_the_default_is_balanced() -> None:
    found = resolved()
    assert (found.recipe.rank, found.recipe.learning_rate, found.recipe.epochs) == (16, 2e-4, 3)
    assert found.origins["rank"] == "preset balanced"
    assert found.origins["dropout"] == "every preset"
    assert found.origins["seed"] == "default"


def test_a_given_value_counts_before_the_preset() -> None:
    found = resolved(rank=4, preset="aggressive")
    assert (found.recipe.rank, found.origins["rank"]) == (4, "given")
    assert (found.recipe.learning_rate, found.origins["learning_rate"]) == (3e-4, "preset aggressive")


def test_auto_counts_before_the_preset_and_has_a_reason() -> None:
    found = resolved(learning_rate="auto", rank="auto")
    assert found.recipe.learning_rate == 2e-3
    assert found.origins["learning_rate"].startswith("auto: 10 × 0.0002")
    assert found.origins["rank"] == "auto: by data size, 1,200 rows"


def test_what_depends_on_another_value_follows_it() -> None:
    found = resolved(rank=64, batch_rows=24)
    assert found.recipe.alpha == 128
    assert found.recipe.micro_batch_rows == 12
    assert found.recipe.batch_rows % found.recipe.micro_batch_rows == 0


@pytest.mark.parametrize(
    ("values", "rate"),
    [({"adapter": "full"}, 2e-5), ({"method": "dpo"}, 5e-6), ({"method": "kto", "adapter": "full"}, 5e-7),
     ({"method": "grpo"}, 1e-5)],
)  # fmt: skip
def test_other_adapters_and_methods_take_their_share_of_a_presets_rate(values: dict[str, Any], rate: float) -> None:
    found = resolved(**values)
    assert found.recipe.learning_rate == rate
    assert found.origins["learning_rate"].startswith("preset balanced, 1/")


def test_beta_is_that_of_the_method() -> None:
    assert resolved(method="dpo").recipe.beta == 0.1
    assert resolved(method="grpo").recipe.beta == 0.04
    assert resolved(method="ipo", beta=0.5).recipe.beta == 0.5


def test_early_stopping_of_a_preset_gives_way_without_validation() -> None:
    assert resolved(preset="quality").recipe.early_stopping_evals == 3
    assert resolved(preset="quality", validation_share=0).recipe.early_stopping_evals == 0
    assert resolved(preset="quality", method="grpo").recipe.early_stopping_evals == 0


def test_what_quality_leaves_to_a_sweep_says_so() -> None:
    origins = resolved(preset="quality", learning_rate=1e-3).origins
    assert origins["rank"] == "preset quality; `tuneloop sweep` tries others"
    assert "sweep" not in origins["learning_rate"]
    assert "sweep" not in resolved().origins["rank"]


def test_what_has_no_effect_says_so() -> None:
    assert "not used: adapter is full" in resolved(adapter="full").origins["rank"]
    assert "not used: method is sft" in resolved().origins["beta"]
    assert "not used: no validation rows" in resolved().origins["eval_steps"]


def test_unfamiliar_values_are_taken_and_said() -> None:
    found = resolved(rank=300, alpha=1, learning_rate=0.5, epochs=40)
    assert (found.recipe.rank, found.recipe.learning_rate) == (300, 0.5)
    text = " ".join(found.warnings)
    assert all(word in text for word in ("rank 300", "alpha 1", "learning_rate 0.5", "epochs 40"))
    assert not resolved(learning_rate=1e-3, epochs=2).warnings
    assert "rank 300" in found.notes()["unusual"]


def test_notes_hold_every_value_with_its_origin() -> None:
    notes = resolved(rank="auto").notes()
    assert notes["rank"] == "16 (auto: by data size, 1,200 rows)"
    assert notes["target_modules"] == "all-linear (every preset)"
    assert notes["max_rows"] == "none (default)"
    assert set(Recipe.model_fields) == set(notes)


def test_without_facts_the_rule_stands_for_the_value() -> None:
    found = explain(TrainConfig(rank="auto", learning_rate="auto"), None, None)
    assert found["rank"].value == "auto"
    assert found["rank"].origin == "auto: by data size; worked out when data and model are known"
    assert found["epochs"] == (3.0, "preset balanced")


def test_on_and_off_of_yaml_are_switches() -> None:
    config = TrainConfig.model_validate({"packing": True, "compile": False})
    assert (config.packing, config.compile) == ("on", "off")


@pytest.mark.parametrize(("field", "value"), [("rank", 0), ("learning_rate", -1), ("learning_rate", "inf"),
                                              ("epochs", 0), ("packing", "maybe"), ("rank", "many")])  # fmt: skip
def test_impossible_values_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        TrainConfig.model_validate({field: value})


CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"batch_rows": 16, "micro_batch_rows": 5}, "micro_batch_rows"),
    ({"micro_batch_rows": 5}, "micro_batch_rows"),
    ({"batch_rows": "auto", "micro_batch_rows": 5}, "micro_batch_rows"),
    ({"adapter": "full", "rank": 8}, "rank"),
    ({"adapter": "full", "alpha": "auto"}, "alpha"),
    ({"adapter": "full", "dropout": 0.1}, "dropout"),
    ({"adapter": "full", "target_modules": ["q_proj"]}, "target_modules"),
    ({"adapter": "full", "rslora": True}, "rslora"),
    ({"adapter": "lora", "expand_nf4": "on"}, "expand_nf4"),
    ({"adapter": "lora_8bit", "compile": "on"}, "compile"),
    ({"target_modules": ["all-linear", "q_proj"]}, "target_modules"),
    ({"target_modules": []}, "target_modules"),
    ({"method": "dpo", "loss_on": "all"}, "loss_on"),
    ({"method": "kto", "packing": "on"}, "packing"),
    ({"beta": 0.1}, "beta"),
    ({"samples_per_prompt": 8}, "samples_per_prompt"),
    ({"method": "dpo", "answer_tokens": 64}, "answer_tokens"),
    ({"early_stopping_evals": 2}, "early_stopping_evals"),
    ({"method": "grpo", "validation_share": 0.1, "early_stopping_evals": 2}, "early_stopping_evals"),
    ({"eval_steps": 5}, "eval_steps"),
    ({"eval_steps": "auto"}, "eval_steps"),
    ({"engine": "single", "processes": 2}, "processes"),
]


@pytest.mark.parametrize(("values", "field"), CONTRADICTIONS)
def test_contradictions_are_refused_by_field(values: dict[str, Any], field: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolved(**values)
    assert caught.value.where == f"train.{field}"
    assert caught.value.remedy


@pytest.mark.parametrize("values", [
    {"batch_rows": 16, "micro_batch_rows": 4}, {"method": "dpo", "beta": 0.3}, {"preset": "quality", "eval_steps": 5},
    {"validation_share": 0.1, "early_stopping_evals": 2}, {"early_stopping_evals": 0},
    {"engine": "ddp", "processes": 2}, {"target_modules": ["q_proj", "v_proj"]},
    {"method": "dpo", "packing": "off"}, {"expand_nf4": "off"},
])  # fmt: skip
def test_what_goes_together_is_taken(values: dict[str, Any]) -> None:
    refuse_contradictions(TrainConfig.model_validate(values))
    resolved(**values)


def test_a_configuration_sent_as_a_form_means_the_same() -> None:
    """Forms and the API send every field, also those that are left out."""
    config = TrainConfig(preset="quality", rank=8)
    again = TrainConfig.model_validate_json(config.model_dump_json())
    assert resolve_recipe(again, SMALL) == resolve_recipe(config, SMALL)


CONFIGS = st.fixed_dictionaries({}, optional={
    "preset": st.sampled_from(["quick-start", "conservative", "balanced", "aggressive", "quality", "cost"]),
    "method": st.sampled_from(["sft", "dpo", "ipo", "kto", "grpo"]),
    "adapter": st.sampled_from(["qlora", "lora", "lora_8bit", "dora", "full"]),
    "rank": st.none() | st.just("auto") | st.integers(1, 300),
    "alpha": st.none() | st.just("auto") | st.integers(1, 300),
    "learning_rate": st.none() | st.just("auto") | st.floats(1e-8, 1),
    "epochs": st.none() | st.just("auto") | st.floats(0.1, 50),
    "batch_rows": st.none() | st.just("auto") | st.integers(1, 200),
    "micro_batch_rows": st.none() | st.just("auto") | st.integers(1, 32),
    "validation_share": st.none() | st.floats(0, 0.5),
    "max_rows": st.none() | st.integers(1, 10**6),
    "rslora": st.booleans(),
})  # fmt: skip


@given(CONFIGS, st.integers(1, 10**7), st.integers(10**5, 10**12))
@settings(max_examples=150, deadline=None)
def test_every_configuration_is_refused_or_resolved_whole(values: dict[str, Any], rows: int, parameters: int) -> None:
    config = TrainConfig.model_validate(values)
    if list(contradictions(config)):
        return
    found = resolve_recipe(config, Facts(rows=rows, parameters=parameters))
    assert set(found.origins) == set(Recipe.model_fields)
    assert found.recipe.batch_rows % found.recipe.micro_batch_rows == 0
    for name, value in values.items():
        if value not in (None, "auto") and name in Recipe.model_fields:
            assert getattr(found.recipe, name) == value
