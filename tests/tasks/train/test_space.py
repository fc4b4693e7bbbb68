"""Which settings a sweep tries, and which trial wins."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.contracts import TrainedModel, ValidationPoint
from tasks.errors import (
    BudgetRefused,
    EnvironmentUnusable,
    ModelUnavailable,
    ResumeMismatch,
    TrainingFailed,
    TuneloopError,
    UsageError,
)
from tasks.train.config import TrainConfig
from tasks.train.failures import KINDS, failure
from tasks.train.space import (
    Space,
    check_validation,
    in_words,
    judge,
    metric_of,
    of_settings,
    points,
    refuse_points,
    score,
    setting_of,
    trial_of,
    with_point,
)
from tests.deployments.example_outcome import trained


def looked(*losses: float, **more: Any) -> TrainedModel:
    looks = tuple(ValidationPoint(step=i, loss=loss) for i, loss in enumerate(losses))
    return trained().model_copy(update={"validation": looks, **more})


def test_a_grid_is_tried_whole_or_sampled() -> None:
    grid = {"learning_rate": (1e-4, 2e-4), "rank": (8, 16)}
    whole = points(Space(grid=grid))
    assert whole == [{"learning_rate": r, "rank": k} for r in (1e-4, 2e-4) for k in (8, 16)]
    sample = points(Space(grid=grid, trials=3))
    assert len(sample) == 3
    assert all(point in whole for point in sample)
    assert sample == points(Space(grid=grid, trials=3))
    assert points(Space(grid=grid, trials=9)) == whole


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.integers(1, 12), st.floats(1e-6, 1e-2), st.floats(1.5, 100))
def test_what_is_drawn_lies_in_its_range_and_is_allowed(seed: int, trials: int, low: float, factor: float) -> None:
    space = Space(ranges={"learning_rate": (low, low * factor), "rank": (4, 64)}, trials=trials, seed=seed)
    drawn = points(space)
    assert drawn == points(space)
    assert len(drawn) == trials
    for point in drawn:
        assert low * 0.99 <= float(point["learning_rate"]) <= low * factor * 1.01
        assert with_point(TrainConfig(), point).rank == point["rank"]


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("rank", 4, 64),
        ("eval_steps", 5, 50),
        ("max_rows", 10, 99),
        ("answer_tokens", 8, 64),
        ("checkpoint_steps", 1, 9),
    ],
)
def test_what_counts_something_is_drawn_whole(name: str, low: int, high: int) -> None:
    config = TrainConfig(validation_share=0.1, method="grpo")
    space = Space(ranges={name: (low, high)}, trials=8)
    refuse_points(config, space)
    for point in points(space):
        assert isinstance(point[name], int)
        assert low <= point[name] <= high
        assert getattr(with_point(config, point), name) == point[name]


def test_what_is_an_amount_is_drawn_as_it_is() -> None:
    space = Space(ranges={"epochs": (1, 3), "dropout": (0.01, 0.2), "timeout_minutes": (1, 50)}, trials=8)
    assert {type(value) for point in points(space) for value in point.values()} == {float}


@pytest.mark.parametrize(
    ("wrong", "where", "why"),
    [
        ({"grid": {"learning_rate": (1e-4, "abc")}}, "train.learning_rate", "a valid number"),
        ({"grid": {"eval_steps": (5, 9.74)}}, "train.eval_steps", "fractional part"),
        ({"grid": {"adapter": ("lora", "lorra")}}, "train.adapter", "'lora_8bit'"),
        ({"ranges": {"rank": (0.1, 0.4)}, "trials": 2}, "train.rank", "greater than or equal to 1"),
        ({"grid": {"micro_batch_rows": (2, 3)}}, "train.micro_batch_rows", "passed over"),
        ({"grid": {"adapter": ("lora", "full"), "rank": (8,)}}, "train.rank", "passed over"),
    ],
)
def test_every_point_is_looked_at_before_the_first_is_trained(wrong: dict[str, Any], where: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        refuse_points(TrainConfig(batch_rows=4, validation_share=0.1), Space.model_validate(wrong))
    assert caught.value.where.startswith(where)
    assert why in caught.value.why
    assert caught.value.remedy


def test_a_contradiction_names_its_trial() -> None:
    with pytest.raises(UsageError) as caught:
        refuse_points(TrainConfig(), Space(grid={"adapter": ("lora", "full"), "rank": (8,)}))
    assert caught.value.where == "train.rank, trial: adapter full, rank 8"


OF_SETTINGS = {"TL-TRAIN-OOM-GPU", "TL-TRAIN-OOM-HOST", "TL-TRAIN-OOM-KILLED", "TL-TRAIN-NAN", "TL-TRAIN-SPIKE",
               "TL-TRAIN-DATA"}  # fmt: skip


@pytest.mark.parametrize("code", KINDS)
def test_only_what_settings_can_cause_speaks_against_them(code: str) -> None:
    assert of_settings(failure(code).as_error()) == (code in OF_SETTINGS)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TrainingFailed("the loss of the first steps is out of bounds"), True),
        (BudgetRefused("the training does not fit"), True),
        (UsageError("fused layers cannot be had"), True),
        (EnvironmentUnusable("the disk is full"), False),
        (ModelUnavailable("there is no such model"), False),
        (ResumeMismatch("it has other data"), False),
        (TrainingFailed("the record of repairs cannot be read", code="TL-TRAIN-REPAIRS"), False),
        (EnvironmentUnusable("no memory", code="TL-TRAIN-OOM-HOST"), False),
    ],
)
def test_errors_of_other_kinds(error: TuneloopError, expected: bool) -> None:
    assert of_settings(error) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"grid": {"rnak": (8,)}},
        {"ranges": {"rank": (4, 8)}},
        {"ranges": {"learning_rate": (1.0, 0.1)}, "trials": 2},
        {"ranges": {"learning_rate": (0.0, 0.1)}, "trials": 2},
        {"ranges": {"rank": (8, float("inf"))}, "trials": 2},
        {"grid": {"rank": (8,)}, "ranges": {"rank": (4, 8)}, "trials": 2},
        {"grid": {"rank": tuple(range(1, 66))}},
    ],
)
def test_what_is_no_space(wrong: dict[str, Any]) -> None:
    with pytest.raises((UsageError, ValidationError)):
        Space.model_validate(wrong)


def test_the_best_trial_is_the_one_with_the_least_validation_loss() -> None:
    found = [looked(0.9, 0.5), TrainingFailed("it exploded"), looked(0.9, 0.4, 0.6, best_step=1), looked(0.9, 0.41)]
    swept = judge([trial_of({"rank": i}, each, "validation_loss") for i, each in enumerate(found)], "validation_loss")
    assert swept.point == {"rank": 2}
    assert [trial.score for trial in swept.trials] == [0.5, None, 0.4, 0.41]
    assert "it exploded" in swept.trials[1].failure


def test_a_measure_of_the_method_is_better_when_larger() -> None:
    found = [looked(0.5, measures={"preference_accuracy": a}) for a in (0.6, 0.8, 0.7)]
    swept = judge([trial_of({"rank": i}, e, "preference_accuracy") for i, e in enumerate(found)], "preference_accuracy")
    assert swept.best == 1
    assert score(found[0], "unknown") is None


PREFERENCES = ("dpo", "ipo", "kto")


def test_each_method_has_its_own_metric() -> None:
    space = Space(grid={"rank": (2, 4)})
    for method in ("sft", *PREFERENCES):
        assert metric_of(TrainConfig(method=method), space) == "validation_loss"
    assert metric_of(TrainConfig(method="grpo"), space) == "reward"
    accuracy = Space(grid={"method": PREFERENCES}, metric="preference_accuracy")
    assert metric_of(TrainConfig(), accuracy) == "preference_accuracy"
    assert metric_of(TrainConfig(), Space(grid={"method": ("grpo",)})) == "reward"


@pytest.mark.parametrize(
    ("method", "space", "what"),
    [
        ("grpo", {"grid": {"rank": (2, 4)}, "metric": "validation_loss"}, "grpo cannot be compared"),
        ("sft", {"grid": {"method": ("sft", "grpo")}}, "grpo cannot be compared"),
        ("sft", {"grid": {"method": ("dpo", "ipo")}}, "different methods"),
        ("dpo", {"grid": {"rank": (2,)}, "metric": "preference_acuracy"}, "does not measure preference_acuracy"),
        ("sft", {"grid": {"rank": (2,)}, "metric": "reward"}, "sft does not measure reward"),
    ],
)
def test_what_trials_cannot_be_compared_by_is_refused_before_the_first(
    method: Any, space: dict[str, Any], what: str
) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        refuse_points(TrainConfig(method=method, validation_share=0.1), Space.model_validate(space))
    assert caught.value.where == "--metric"
    assert caught.value.why
    assert caught.value.remedy


def test_without_a_score_there_is_no_best() -> None:
    with pytest.raises(UsageError) as caught:
        judge([trial_of({"rank": 1}, looked(0.5), "accuracy")], "accuracy")
    assert "validation_loss" in caught.value.why


def test_a_sweep_needs_rows_for_validation() -> None:
    with pytest.raises(UsageError, match="neither learned nor held out"):
        check_validation(TrainConfig())
    check_validation(TrainConfig(validation_share=0.1))
    check_validation(TrainConfig(preset="quality"))
    with pytest.raises(UsageError):
        check_validation(TrainConfig(preset="quality", validation_share=0.0))


@pytest.mark.parametrize(("text", "value"), [("8", 8), ("1e-4", 1e-4), ("auto", "auto"), ("lora", "lora")])
def test_settings_are_read_as_numbers_where_they_are(text: str, value: object) -> None:
    assert setting_of(text) == value
    assert type(setting_of(text)) is type(value)


def test_a_point_in_words() -> None:
    assert in_words({"learning_rate": 2e-4, "rank": 16}) == "learning_rate 0.0002, rank 16"
