"""Trials of settings, compared on rows that are neither learned nor held out.

The main job does this by itself where its preset says so (`quality`); `flows/sweep_finetune.py` for a given space.
"""

from prefect import flow

from tasks.config import RunConfig
from tasks.contracts import BaseModelRef, DatasetVersion, TrainedModel
from tasks.errors import TuneloopError
from tasks.outcome.task import answer, answer_or_failure, refusable
from tasks.train.space import (
    Point,
    Space,
    Swept,
    check_validation,
    in_words,
    judge,
    metric_of,
    of_settings,
    points,
    preset_space,
    refuse_points,
    settled,
    trial_of,
    with_point,
)
from tasks.train.task import resolve_base, train
from tasks.version.task import dataset_at


@flow(name="trial")
def trial(config: RunConfig, dataset: str) -> TrainedModel:
    """One training; nothing of it is evaluated, gated or registered."""
    return train(dataset_at(dataset), resolve_base(config.model), config.train)


def tried(config: RunConfig, dataset: str, point: Point) -> TrainedModel | Exception:
    """The training of a point of the space, or why it failed: settings that fail are an answer too.

    Raises:
        TuneloopError: it failed for another reason; repeated, the sweep goes on with this trial.
    """
    settings = config.model_copy(update={"train": with_point(config.train, point)})
    named = trial.with_options(flow_run_name=f"trial: {in_words(point)}")
    found = answer_or_failure(named(settings, dataset, return_state=True))
    if isinstance(found, TuneloopError) and not of_settings(found):
        raise found
    return found


@flow(name="sweep", flow_run_name="sweep {config.project} on {dataset}")
@refusable
def sweep(config: RunConfig, dataset: str, space: Space) -> Swept:
    """Each point of a space a training, one after the other, and the best of them by its validation.

    Args:
        dataset: address of a dataset version, `ds://project/name@x.y.z`.
        space: what to try; the same space gives the same trials, and what was trained before is not trained again.

    Raises:
        UsageError: the settings of a trial cannot be, or trials cannot be compared; found before the first one.
        TuneloopError: a trial failed for a reason that says nothing of its settings.
    """
    refuse_points(config.train, space)
    check_validation(config.train)
    metric = metric_of(config.train, space)
    return judge([trial_of(p, tried(config, dataset, p), metric) for p in points(space)], metric)


def best_settings(config: RunConfig, rows: DatasetVersion, base: BaseModelRef) -> RunConfig:
    """The configuration as it is; where its preset leaves settings to a small sweep, with those that did best."""
    space = preset_space(config.train, rows, base)
    if space is None:
        return config
    swept = answer(sweep(config, rows.address, space, return_state=True))
    return config.model_copy(update={"train": settled(config.train, swept.point, rows, base)})
