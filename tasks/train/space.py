"""Which settings a sweep tries, and which trial is the best. Pure.

A grid is tried whole, or a seeded sample of it; a range is drawn from evenly on a logarithmic scale (random search,
Bergstra and Bengio 2012). The same space gives the same trials, and each trial is a training that the store knows: a
sweep that was killed goes on where it stopped.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import Field, ValidationError, model_validator

from tasks.contracts import BaseModelRef, DatasetVersion, Record, TrainedModel
from tasks.errors import BudgetRefused, EnvironmentUnusable, TrainingFailed, TuneloopError, UsageError
from tasks.train.config import Method, TrainConfig
from tasks.train.contradictions import refuse_contradictions
from tasks.train.failures import DATA, NAN, OOM_GPU, OOM_HOST, OOM_KILLED, SPIKE
from tasks.train.methods import measured_by
from tasks.train.presets import preset_value, swept
from tasks.train.recipe import Facts, resolve_recipe

Setting = int | float | str
Point = dict[str, Setting]
VALIDATION_LOSS, REWARD = "validation_loss", "reward"
MOST_TRIALS = 64
# Memory and losses, rows or a start that do not suit the settings, a model that does not fit, values that only the
# trainer can refuse. Whatever is not here says something about the machine, or nothing that is known.
_OF_SETTINGS = (
    *(OOM_GPU, OOM_HOST, OOM_KILLED, NAN, SPIKE, DATA),
    *(TrainingFailed.code, BudgetRefused.code, UsageError.code),
)


class Space(Record):
    """What a sweep may try, by field of `train`."""

    grid: dict[str, tuple[Setting, ...]] = Field(default_factory=dict, description="field → values to try.")
    ranges: dict[str, tuple[float, float]] = Field(default_factory=dict, description="field → lowest and highest.")
    trials: int | None = Field(None, ge=1, le=MOST_TRIALS, description="Most trials; empty: the whole grid.")
    seed: int = Field(17, ge=0, description="Of the sample, and of what is drawn from ranges.")
    metric: str = Field(
        "",
        description="validation_loss, or a measure of the method on rows it did not learn; empty: reward for grpo, "
        "validation_loss for every other method.",
    )

    @model_validator(mode="after")
    def _possible(self) -> Space:
        """Refuse what is no space."""
        strange = [name for name in (*self.grid, *self.ranges) if name not in TrainConfig.model_fields]
        if strange:
            raise UsageError(f"`{strange[0]}` is no field of train", where=f"train.{strange[0]}",
                             remedy="`tuneloop config show CONFIG` shows every field")  # fmt: skip
        for name in self.grid.keys() & self.ranges.keys():
            raise UsageError("a field has values and a range", where=f"train.{name}",
                             why="the range would take the place of the values", remedy="give one of both")  # fmt: skip
        if not self.grid and not self.ranges:
            raise UsageError("there is nothing to try", remedy="--grid train.learning_rate=1e-4,2e-4")
        if self.ranges and self.trials is None:
            raise UsageError("a range needs a number of trials", where="--trials", remedy="e.g. --trials 8")
        for name, (low, high) in self.ranges.items():
            if not 0 < low < high < math.inf:
                raise UsageError("a range goes from a positive number to a larger one", where=f"train.{name}",
                                 why=f"{low:g} to {high:g}", remedy="e.g. --range train.rank=8..64")  # fmt: skip
        if self.trials is None and len(points(self)) > MOST_TRIALS:
            why = f"a sweep tries at most {MOST_TRIALS}"
            raise UsageError(
                f"the grid has {len(points(self))} points", where="--grid", why=why, remedy="--trials N tries a sample"
            )
        return self


class Trial(Record):
    """One training of a sweep."""

    point: Point
    trained: TrainedModel | None = Field(description="None: the training failed.")
    failure: str = Field("", description="Why it failed.")
    score: float | None = Field(description="Its value of the metric; None: it has none.")


class Swept(Record):
    """What a sweep tried, in order, and which one is the best."""

    metric: str
    trials: tuple[Trial, ...]
    best: int

    @property
    def point(self) -> Point:
        return self.trials[self.best].point


def points(space: Space) -> list[Point]:
    """The settings of every trial, in order."""
    whole = [dict(zip(space.grid, values, strict=True)) for values in itertools.product(*space.grid.values())]
    chance = random.Random(space.seed)
    if not space.ranges:
        if space.trials is None or space.trials >= len(whole):
            return whole
        return [whole[i] for i in sorted(chance.sample(range(len(whole)), space.trials))]
    return [chance.choice(whole) | _drawn(space.ranges, chance) for _ in range(space.trials or 0)]


def _drawn(ranges: Mapping[str, tuple[float, float]], chance: random.Random) -> Point:
    drawn = {name: math.exp(chance.uniform(math.log(low), math.log(high))) for name, (low, high) in ranges.items()}
    return {name: _as_field(name, float(f"{value:.3g}")) for name, value in drawn.items()}


def _as_field(name: str, value: float) -> Setting:
    """Whole where the field counts something."""
    return round(value) if _counts(TrainConfig.model_fields[name].annotation) else value


def _counts(annotation: Any) -> bool:
    return annotation is int or any(_counts(part) for part in get_args(annotation))


def with_point(config: TrainConfig, point: Point) -> TrainConfig:
    """The configuration with the settings of a trial.

    Raises:
        UsageError: a value is not allowed.
    """
    try:
        return TrainConfig.model_validate(config.model_dump() | point)
    except ValidationError as error:
        raise _not_allowed(point, error) from error


def _not_allowed(point: Point, error: ValidationError) -> UsageError:
    """A field can be of several kinds, of which each says why it is not: all of them are told."""
    found = error.errors(include_url=False, include_input=False)
    name = str(found[0]["loc"][0])
    return UsageError(
        f"train.{name} cannot be {point.get(name)}",
        where=f"train.{name}",
        why=" or ".join(dict.fromkeys(each["msg"] for each in found if each["loc"][0] == name)),
        remedy="give values that the field takes: `tuneloop config show CONFIG` explains each one",
    )


def refuse_points(config: TrainConfig, space: Space) -> None:
    """Look at all trials before the first one is trained: hours later would be too late.

    Raises:
        UsageError: the settings of a trial are not allowed, or contradict one another or the configuration; or the
            trials cannot be compared by the metric.
    """
    for point in points(space):
        chosen = with_point(config, point)
        try:
            refuse_contradictions(chosen)
        except UsageError as error:
            where = f"{error.where}, trial: {in_words(point)}"
            raise UsageError(error.what, where=where, why=error.why, remedy=error.remedy) from error
    metric_of(config, space)


def metric_of(config: TrainConfig, space: Space) -> str:
    """What the trials of a space are compared by: the metric that was given, or the usual one of their method.

    Raises:
        UsageError: a method among them does not measure it, or it says nothing of how good their answers are.
    """
    methods = list(dict.fromkeys(with_point(config, point).method for point in points(space)))
    metric = space.metric or (REWARD if methods == ["grpo"] else VALIDATION_LOSS)
    if metric == VALIDATION_LOSS:
        _refuse_losses(methods)
        return metric
    for method in methods:
        known = measured_by(method)
        if metric not in known:
            usable = known if method == "grpo" else (VALIDATION_LOSS, *known)
            raise UsageError(f"{method} does not measure {metric}", where="--metric",
                             why=f"measured by {method}: {', '.join(usable)}",
                             remedy="name one of these, or leave --metric out")  # fmt: skip
    return metric


def _refuse_losses(methods: Sequence[Method]) -> None:
    """Losses are no measure where they say nothing of the answers, or are no losses of the same kind."""
    if "grpo" in methods:
        raise UsageError("trials of grpo cannot be compared by validation_loss", where="--metric",
                         why="its loss is the distance from the start: what has learned least has least of it",
                         remedy="sweep grpo by itself, by reward: leave --metric out")  # fmt: skip
    if len(methods) > 1:
        raise UsageError("trials of different methods cannot be compared by validation_loss", where="--metric",
                         why=f"those of {' and '.join(methods)} are no losses of the same kind",
                         remedy="sweep each method by itself, or by preference_accuracy where all have it")  # fmt: skip


def settled(config: TrainConfig, point: Point, rows: DatasetVersion, base: BaseModelRef) -> TrainConfig:
    """The configuration with the settings of a trial, and with everything else that its preset would sweep fixed.

    The recipe is that of the trial: its training is found, not repeated.
    """
    chosen = with_point(config, point)
    recipe = resolve_recipe(chosen, _facts(rows, base)).recipe
    return with_point(chosen, {name: getattr(recipe, name) for name in swept(chosen, recipe.learning_rate)})


def preset_space(config: TrainConfig, rows: DatasetVersion, base: BaseModelRef) -> Space | None:
    """The small space that the preset leaves open; None: it leaves nothing open."""
    grid = swept(config, resolve_recipe(config, _facts(rows, base)).recipe.learning_rate)
    return Space(grid=grid) if grid else None


def _facts(rows: DatasetVersion, base: BaseModelRef) -> Facts:
    return Facts(rows=rows.train_rows, parameters=base.parameters)


def check_validation(config: TrainConfig) -> None:
    """Refuse a sweep that has nothing to compare its trials by: the held-out rows are not for that.

    Raises:
        UsageError: no rows are kept for validation.
    """
    share = config.validation_share
    if share if share is not None else preset_value(config, "validation_share"):
        return
    raise UsageError(
        "a sweep needs rows that are neither learned nor held out",
        where="train.validation_share",
        why=f"preset {config.preset} keeps none for validation, and choosing by the held-out rows would spoil them",
        remedy="set train.validation_share, e.g. --set train.validation_share=0.1",
    )


def of_settings(error: TuneloopError) -> bool:
    """Whether a failure speaks against the settings of its trial. A full disk or a stopped machine does not: what was
    not tried to its end must not lose against what was.
    """
    return error.code in _OF_SETTINGS and not isinstance(error, EnvironmentUnusable)


def trial_of(point: Point, found: TrainedModel | Exception, metric: str) -> Trial:
    """A trial with its score; a training that failed has none."""
    if isinstance(found, Exception):
        return Trial(point=point, trained=None, failure=str(found).splitlines()[0], score=None)
    return Trial(point=point, trained=found, score=score(found, metric))


def score(trained: TrainedModel, metric: str) -> float | None:
    """The value of a metric: of validation, the loss of the adapter that was written."""
    if metric != VALIDATION_LOSS:
        return trained.measures.get(metric)
    looks = [look.loss for look in trained.validation if trained.best_step in (None, look.step)]
    return looks[-1] if looks else None


def judge(trials: Sequence[Trial], metric: str) -> Swept:
    """The trials with the best one; of equals the first.

    Raises:
        UsageError: none of them has the metric.
    """
    known = [(t.score, i) for i, t in enumerate(trials) if t.score is not None and math.isfinite(t.score)]
    if not known:
        names = sorted({name for t in trials if t.trained for name in t.trained.measures})
        failures = {t.failure for t in trials if t.failure}
        raise UsageError(
            f"no trial has a value of {metric}",
            where="--metric",
            why="; ".join(sorted(failures)) or f"measured: {', '.join((VALIDATION_LOSS, *names))}",
            remedy="look at why the trials failed, or choose a metric that is measured",
        )
    smaller = metric.endswith("loss")
    chosen = min(known) if smaller else max(known, key=lambda pair: (pair[0], -pair[1]))
    return Swept(metric=metric, trials=tuple(trials), best=chosen[1])


def setting_of(text: str) -> Setting:
    """`2e-4` and `16` as numbers, anything else as it is."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def in_words(point: Point) -> str:
    """`learning_rate 2e-04, rank 16`."""
    return ", ".join(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
                     for name, value in point.items())  # fmt: skip
