"""Trainings side by side: curves, what they measured and in which settings they differ. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tasks.contracts import LossPoint, Record, TrainedModel
from tasks.errors import UsageError

if TYPE_CHECKING:
    from deployments.runs.views import Details

MOST_RUNS = 4
_SMALLER_IS_BETTER = frozenset({"final loss", "validation loss", "seconds", "cost", "perplexity", "interruptions"})
_UNRANKED = frozenset({"steps", "interruptions"})
_SYSTEM_SCORES = ("exact_match", "token_f1", "rouge_l")


class Compared(Record):
    """One training in a comparison."""

    name: str = Field(description="What it is called in legends and tables.")
    run: str
    curve: tuple[LossPoint, ...]
    measures: dict[str, float]
    settings: dict[str, str] = Field(description="Flat configuration: dotted name → value.")


class Row(Record):
    """One measure of all trainings; None where one has not measured it."""

    name: str
    values: tuple[float | None, ...]
    best: int | None = Field(description="Index of the best one; None where there is no best.")


class Comparison(Record):
    """Two to four trainings side by side."""

    runs: tuple[Compared, ...]
    measures: tuple[Row, ...]
    differences: dict[str, tuple[str, ...]] = Field(description="Settings that are not the same everywhere.")


def compare(runs: Sequence[Compared]) -> Comparison:
    """Put trainings side by side.

    Raises:
        UsageError: there are fewer than two, or too many to tell them apart.
    """
    if not 2 <= len(runs) <= MOST_RUNS:
        raise UsageError(f"{len(runs)} runs were named", why="two to four can be told apart in one drawing",
                         remedy="tuneloop runs compare RUN RUN [RUN [RUN]]")  # fmt: skip
    names = dict.fromkeys(name for run in runs for name in run.measures)
    return Comparison(
        runs=tuple(runs), measures=tuple(_row(name, runs) for name in names), differences=differences(runs)
    )


def _row(name: str, runs: Sequence[Compared]) -> Row:
    values = tuple(run.measures.get(name) for run in runs)
    return Row(name=name, values=values, best=None if name in _UNRANKED else best(name, values))


def best(name: str, values: Sequence[float | None]) -> int | None:
    """Index of the best value; None where fewer than two are there or all are the same."""
    known = [(value, index) for index, value in enumerate(values) if value is not None and math.isfinite(value)]
    if len(known) < 2 or len({value for value, _ in known}) == 1:
        return None
    smaller = name.rpartition(" ")[2] in _SMALLER_IS_BETTER or name in _SMALLER_IS_BETTER
    return min(known)[1] if smaller else max(known, key=lambda pair: (pair[0], -pair[1]))[1]


def differences(runs: Sequence[Compared]) -> dict[str, tuple[str, ...]]:
    """Settings whose value is not the same in all runs, in the order of the first run that has them."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    found = {name: tuple(run.settings.get(name, "") for run in runs) for name in names}
    return {name: values for name, values in found.items() if len(set(values)) > 1}


def of_details(details: Details, name: str) -> Compared:
    """A run as a comparison shows it.

    Raises:
        UsageError: it has no training.
    """
    curve = details.trained.curve if details.trained else curve_of_events(details)
    if not curve:
        why, remedy = f"it is {details.view.state}", "`tuneloop runs list` shows which runs have a loss"
        raise UsageError("this run has no training to compare", where=details.view.id, why=why, remedy=remedy)
    settings = dict(flat(details.config)) | _resolved(details)
    return Compared(name=name, run=details.view.id, curve=curve, measures=_measures(details), settings=settings)


def curve_of_events(details: Details) -> tuple[LossPoint, ...]:
    """The curve so far; of a step that was done again after a checkpoint, the last time counts."""
    points = {e.step: e for e in details.events if e.kind == "progress" and e.step and e.loss is not None}
    return tuple(
        LossPoint(
            step=step,
            loss=e.loss if e.loss is not None else math.nan,
            learning_rate=e.learning_rate or 0.0,
            tokens=e.tokens or 0,
            gradient_norm=e.gradient_norm,
            validation_loss=e.validation_loss,
        )
        for step, e in sorted(points.items())
    )


def of_trained(trained: TrainedModel, name: str, settings: Mapping[str, str]) -> Compared:
    """A training that is no run of its own, such as a trial of a sweep."""
    return Compared(
        name=name, run=trained.uri, curve=trained.curve, measures=measures_of(trained), settings=dict(settings)
    )


def measures_of(trained: TrainedModel) -> dict[str, float]:
    """What a training measured."""
    looks = [look.loss for look in trained.validation]
    chosen = [look.loss for look in trained.validation if look.step == trained.best_step]
    found = {"final loss": trained.final_loss}
    if looks:
        found["validation loss"] = (chosen or looks)[-1]
    found |= {name.replace("_", " "): value for name, value in trained.measures.items()}
    return found | {
        "tokens/s": trained.tokens_per_second,
        "steps": float(trained.steps),
        "seconds": trained.seconds,
        "interruptions": float(trained.interruptions),
    }


def _measures(details: Details) -> dict[str, float]:
    found = measures_of(details.trained) if details.trained else {"final loss": curve_of_events(details)[-1].loss}
    costs = [event.cost for event in details.events if event.cost is not None]
    found |= {"cost": costs[-1]} if costs else {}
    tuned = details.report.systems.get("tuned") if details.report else None
    if tuned is None:
        return found
    scores = {name.replace("_", " "): getattr(tuned, name).mean for name in _SYSTEM_SCORES}
    return found | scores | ({"perplexity": tuned.perplexity} if tuned.perplexity is not None else {})


def _resolved(details: Details) -> dict[str, str]:
    """Values that were worked out for this training, in place of `auto` and of what the preset gave."""
    begins = [event for event in details.events if event.kind == "begin"]
    recipe = {name: value for name, value in begins[-1].details.items() if name.startswith("recipe.")} if begins else {}
    return {f"train.{name.removeprefix('recipe.')}": "" if v is None else str(v) for name, v in recipe.items()}


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names and text values of a nested configuration."""
    for key, value in config.items():
        path = f"{prefix}{key}"
        inner = {str(index): each for index, each in enumerate(value)} if isinstance(value, list) else value
        if isinstance(inner, Mapping):
            yield from flat(inner, f"{path}.")
        else:
            yield path, "" if value is None else str(value)
