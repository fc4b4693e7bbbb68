"""What stands around a training for its estimate: what is known before it, and what it took, noted after it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from tasks.adapters.devices import cpu_name, gpu_names
from tasks.adapters.store import Store
from tasks.contracts import BaseModelRef, Forecast
from tasks.errors import TuneloopError
from tasks.settings import Settings
from tasks.train.engines.choose import Hardware, choose
from tasks.train.estimate.forecast import kind_of_run
from tasks.train.estimate.known import Known, Past
from tasks.train.estimate.prices import PriceTable, load_prices
from tasks.train.estimate.saving import checkpoint_bytes, try_saving
from tasks.train.recipe import Recipe
from tasks.train.shape import read_shape
from tasks.train.worker import Result

log = logging.getLogger("tuneloop.train")


def known_here() -> Known:
    """Prices and earlier trainings, as this home knows them."""
    return Known(prices=load_prices(), past=_past())


def known_before(store: Store, key: str, work: Path, recipe: Recipe, base: BaseModelRef) -> Known:
    """As `known_here`, after a dry run of the save path of a training.

    Raises:
        EnvironmentUnusable: what the training needs to save cannot be written, read back, or has no room.
    """
    one = checkpoint_bytes(recipe, read_shape(Path(base.path)), base.parameters)
    saved = try_saving(work, store, key, one)
    return known_here().model_copy(update={"saving_bytes_per_second": saved.bytes_per_second})


def local_price(known: Known, recipe: Recipe, parameters: int) -> float | None:
    """Price of an hour of what a training uses of this machine; None: it is not in the table, or others train."""
    if known.prices is None or Settings().trainer == "kubernetes":  # what its machines are, the trainer says itself
        return None
    names = gpu_names()
    if not names:
        return known.prices.price_of(cpu_name())
    return known.prices.price_of(names[0], _used(names, known.prices, recipe, parameters))


def _used(names: Sequence[str], prices: PriceTable, recipe: Recipe, parameters: int) -> int:
    """How many GPUs a training will use here, as its trainer chooses them; all where it will refuse to start."""
    kind = prices.kind_of(names[0])
    memory = int(prices.kinds[kind].memory_gb * 1e9) if kind else 0
    try:
        return choose(recipe, parameters, Hardware(gpus=len(names), gpu_bytes=memory)).processes
    except TuneloopError:  # the trainer says it, with what it found itself
        return len(names)


def note_actual(key: str, recipe: Recipe, result: Result) -> None:
    """Keep what a training took beside what it was estimated to take. Only a run that went through undisturbed counts.

    A database that fails must not cost the training that has just come to its end.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from tasks.adapters.estimate_log import EstimatedTraining, note

    found = result.estimate
    if found is None or result.interruptions or result.repairs or result.best_step is not None:
        return
    if not (found.raw_seconds and found.raw_memory_bytes and result.seconds and result.peak_memory_bytes):
        return
    try:
        note(
            EstimatedTraining(
                training=key,
                device=found.device,
                kind=kind_of_run(recipe, found.calibrated),
                estimated_seconds=found.raw_seconds,
                actual_seconds=result.seconds,
                estimated_bytes=found.raw_memory_bytes,
                actual_bytes=result.peak_memory_bytes,
            )
        )
    except (SQLAlchemyError, TuneloopError, OSError) as error:
        log.warning("what the training took was not noted for later estimates (%s)", type(error).__name__)


def estimate_against_actual(found: Forecast | None, seconds: float, peak_bytes: int) -> list[tuple[str, str]]:
    """Estimated and actual time, memory and cost in words; empty without an estimate."""
    if found is None or not found.seconds:
        return []
    pairs = [("time", f"{found.seconds:.0f} s estimated, {seconds:.0f} s actual ({seconds / found.seconds - 1:+.0%})")]
    if peak_bytes and found.memory_bytes:
        share = peak_bytes / found.memory_bytes - 1
        pairs += [
            ("memory", f"{found.memory_bytes / 1e9:.2f} GB estimated, {peak_bytes / 1e9:.2f} GB actual ({share:+.0%})")
        ]
    if found.price_per_hour is not None:
        spent = seconds / 3600 * found.price_per_hour
        pairs += [("cost", f"{found.cost:.2f} {found.currency} estimated, {spent:.2f} actual")]
    return pairs


def _past() -> tuple[Past, ...]:
    from sqlalchemy.exc import SQLAlchemyError

    from tasks.adapters.estimate_log import recent

    try:
        found = recent()
    except SQLAlchemyError as error:
        log.warning(
            "earlier trainings could not be read; the estimate is not corrected by them (%s)", type(error).__name__
        )
        return ()
    return tuple(
        Past(
            device=one.device,
            kind=one.kind,
            time_ratio=one.actual_seconds / one.estimated_seconds,
            memory_ratio=one.actual_bytes / one.estimated_bytes,
        )
        for one in found
    )
