"""`python -m deployments.training_fields_page`: each field of a training, its familiar range, a test of its effect."""

from __future__ import annotations

import sys
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from tasks.train.automatic import AUTOMATIC
from tasks.train.config import TrainConfig
from tasks.train.familiar import RANGES, RELATIVE
from tasks.train.presets import EXPLANATIONS, PRESETS

PAGE = "docs/training-fields.md"
_TRAIN = "tests/tasks/train"
# Field → the test that sees its effect.
TESTS: dict[str, str] = {
    "preset": f"{_TRAIN}/test_presets.py::test_what_a_preset_sets",
    "method": f"{_TRAIN}/test_preference.py::test_beta_method_and_kind_matter",
    "start_from": "tests/deployments/gateway/test_adapter_kinds.py::test_a_training_goes_on_from_a_registered_version",
    "adapter": f"{_TRAIN}/test_trainer.py::test_dropout_and_quantisation_matter",
    "rslora": f"{_TRAIN}/test_fields.py::test_what_is_learned_depends_on_it",
    "rank": f"{_TRAIN}/test_trainer.py::test_dropout_and_quantisation_matter",
    "alpha": f"{_TRAIN}/test_fields.py::test_what_is_learned_depends_on_it",
    "dropout": f"{_TRAIN}/test_trainer.py::test_dropout_and_quantisation_matter",
    "target_modules": f"{_TRAIN}/test_fields.py::test_only_target_modules_are_adapted",
    "learning_rate": f"{_TRAIN}/test_trainer.py::test_what_is_configured_has_an_effect",
    "warmup_share": f"{_TRAIN}/test_trainer.py::test_what_is_configured_has_an_effect",
    "weight_decay": f"{_TRAIN}/test_trainer.py::test_what_is_configured_has_an_effect",
    "max_gradient_norm": f"{_TRAIN}/test_fields.py::test_what_is_learned_depends_on_it",
    "epochs": f"{_TRAIN}/test_fields.py::test_steps_follow_from_rows_batches_and_epochs",
    "batch_rows": f"{_TRAIN}/test_fields.py::test_steps_follow_from_rows_batches_and_epochs",
    "micro_batch_rows": f"{_TRAIN}/test_trainer.py::test_micro_batches_only_save_memory",
    "max_rows": f"{_TRAIN}/test_data.py::test_max_rows_is_a_seeded_sample",
    "sequence_tokens": f"{_TRAIN}/test_plan.py::test_a_pack_is_no_longer_than_asked_for",
    "packing": f"{_TRAIN}/test_sft.py::test_packing_leaves_no_padding",
    "loss_on": f"{_TRAIN}/test_data.py::test_every_answer_with_loss_on_assistant",
    "samples_per_prompt": f"{_TRAIN}/test_grpo.py::test_samples_and_their_length_matter",
    "answer_tokens": f"{_TRAIN}/test_grpo.py::test_samples_and_their_length_matter",
    "beta": f"{_TRAIN}/test_preference.py::test_beta_method_and_kind_matter",
    "validation_share": f"{_TRAIN}/test_fields.py::test_validation_share_keeps_rows_back",
    "eval_steps": f"{_TRAIN}/test_fields.py::test_eval_steps_is_how_often_validation_is_looked_at",
    "early_stopping_evals": f"{_TRAIN}/test_validation.py::test_it_stops_by_itself_and_writes_the_best",
    "seed": f"{_TRAIN}/test_trainer.py::test_what_is_configured_has_an_effect",
    "checkpoint_steps": f"{_TRAIN}/test_fields.py::test_checkpoint_steps_is_how_often_it_is_saved",
    "fused_layers": f"{_TRAIN}/test_sft.py::test_switches_change_what_computes",
    "learned_head": f"{_TRAIN}/test_sft.py::test_only_learned_tokens_reach_the_head",
    "compile": f"{_TRAIN}/test_sft.py::test_layers_are_prepared_only_as_decided",
    "expand_nf4": f"{_TRAIN}/test_trainer.py::test_dropout_and_quantisation_matter",
    "activation_checkpointing": f"{_TRAIN}/test_sft.py::test_checkpointed_activations_are_computed_twice",
    "precision": f"{_TRAIN}/test_trainer.py::test_precision_matters",
    "engine": f"{_TRAIN}/engines/test_choose.py::test_what_is_chosen",
    "processes": f"{_TRAIN}/engines/test_choose.py::test_what_is_chosen",
    "max_attempts": f"{_TRAIN}/test_supervise.py::test_a_trainer_that_is_always_killed_is_given_up",
    "timeout_minutes": f"{_TRAIN}/test_supervise.py::test_too_little_time",
    "max_cost": f"{_TRAIN}/test_supervise.py::test_a_training_that_costs_more_than_it_may_stops",
}
_HEAD = """\
# Fields of a training

A value that is given counts. A field that is left out has the value of the preset; `auto` has it worked out from data
and model, and the reason is kept with the model. `tuneloop config show CONFIG` prints every value with where it came
from. Familiar ranges are guides: a value outside is taken and said. Values that contradict one another, or that would
have no effect, are refused before anything starts, with the field, its line and what to do.

This page is made by `python -m deployments.training_fields_page`; a test checks that it is complete and that each test
it names exists.
"""


def training_fields_page() -> str:
    """The page as Markdown."""
    fields = [
        f"| `{name}` | {_cell(field.description or '')} | {_cell(familiar(name, field.annotation))} | `{TESTS[name]}` |"
        for name, field in TrainConfig.model_fields.items()
    ]
    return "\n".join([
        _HEAD,
        "## Presets", "", "| preset | sets | for |", "|---|---|---|",
        *(f"| `{name}` | {_settings(values)} | {EXPLANATIONS[name]} |" for name, values in PRESETS.items()), "",
        "## Automatic values", "", "| field | how `auto` is worked out |", "|---|---|",
        *(f"| `{name}` | {rule.words} |" for name, rule in AUTOMATIC.items()), "",
        "## Fields", "", "| field | meaning | familiar | test of its effect |", "|---|---|---|---|",
        *fields, "",
    ])  # fmt: skip


def familiar(name: str, annotation: Any) -> str:
    """The familiar range of a field in words; for a choice, what can be chosen."""
    if name in RANGES:
        low, high = RANGES[name]
        return f"{low:g} to {high:g}"
    choices = _choices(annotation)  # `auto` alone is no choice: any number may stand beside it
    return RELATIVE.get(name) or (", ".join(choices) if len(choices) > 1 else "any")


def _choices(annotation: Any) -> list[str]:
    origin = get_origin(annotation)
    if origin is Literal:
        return [str(value) for value in get_args(annotation)]
    if origin is Annotated:
        return _choices(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [text for part in get_args(annotation) for text in _choices(part)]
    return ["true", "false"] if annotation is bool else []


def _settings(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(training_fields_page())
