"""How long a training takes: its FLOPs over the rate that a calibration found. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from pydantic import Field

from tasks.contracts import Record
from tasks.train.estimate.work import Load, Steps, flops, forward_flops
from tasks.train.objective import Micro

USUAL_UTILISATION = 0.4  # of the rate of plain products: what training reaches where nothing was measured
STEP_SECONDS = 0.006  # what a step costs beside its products: batches, schedule, progress
MARGIN, ROUGH_MARGIN = 0.15, 0.5


class Rates(Record):
    """How fast this machine is at this training."""

    seconds_per_flop: float = Field(gt=0)
    micro_seconds: float = Field(0.0, ge=0, description="What a micro-batch costs whatever its size.")
    optimizer_seconds: float = Field(0.0, ge=0, description="One step of the optimiser.")
    first_seconds: float = Field(0.0, ge=0, description="Compilation, paid before the first step.")
    saving_bytes_per_second: float = Field(3e8, gt=0)
    gemm_flops: float = Field(
        0.0, ge=0, description="FLOPs a second of plain products in the type that is computed in."
    )
    calibrated: bool = Field(False, description="Whether micro-batches of this training were measured.")
    calibration_seconds: float = Field(0.0, ge=0)
    memory_factor: float = Field(1.0, gt=0, description="Measured over computed memory of activations.")
    base_bytes: int = Field(0, ge=0, description="What the process held before its first step; 0: not measured.")

    @property
    def margin(self) -> float:
        """Half the width of the interval around an estimate of time."""
        return MARGIN if self.calibrated else ROUGH_MARGIN


class Measured(Record):
    """A micro-batch that was measured."""

    flops: float
    seconds: float


class Looks(Record):
    """What happens beside the steps."""

    validation: tuple[Micro, ...] = Field((), description="Micro-batches of one look at validation.")
    looks: int = Field(0, description="Looks while training goes on.")
    saves: int = 0
    save_bytes: int = 0


class Seconds(Record):
    """Seconds of a training by part, as its record counts them: from the first step to the last."""

    steps: float
    optimizer: float
    validation: float
    saving: float

    @property
    def total(self) -> float:
        return float(sum(self.model_dump().values()))


def rates_of(small: Sequence[Measured], large: Sequence[Measured]) -> tuple[float, float]:
    """Seconds per FLOP, and seconds of a micro-batch of no size, through the means at two sizes.

    A training takes the sum of its steps: those that other programs made slow count, and a median would leave them out.
    """
    (few, short), (many, long) = (_mean(found) for found in (small, large))
    if many <= few:
        return long / many, 0.0
    slope = (long - short) / (many - few)
    fixed = short - slope * few
    if slope <= 0 or fixed < 0:  # noise: the larger one says more
        return long / many, 0.0
    return slope, fixed


def _mean(found: Sequence[Measured]) -> tuple[float, float]:
    return statistics.fmean(m.flops for m in found), statistics.fmean(m.seconds for m in found)


def seconds_of(steps: Steps, load: Load, rates: Rates, looks: Looks, processes: int = 1) -> Seconds:
    """Seconds of all steps, looks at validation and checkpoints. The slowest process decides how long a step takes."""
    passes = sum(
        max(sum(_pass(micro, load, rates) for micro in step[rank::processes]) for rank in range(processes))
        for step in steps
    )
    look = sum(
        forward_flops(micro, load) * rates.seconds_per_flop + rates.micro_seconds / 2 for micro in looks.validation
    )
    return Seconds(
        steps=passes,
        optimizer=len(steps) * (rates.optimizer_seconds + STEP_SECONDS),
        validation=looks.looks * look / processes,
        saving=looks.saves * looks.save_bytes / rates.saving_bytes_per_second,
    )


def _pass(micro: Micro, load: Load, rates: Rates) -> float:
    return rates.micro_seconds + flops(micro, load) * rates.seconds_per_flop


def looks_during(steps: int, every: int) -> int:
    """Looks at validation from the first step on: every so many steps, and at the end."""
    return steps // every + (1 if steps % every else 0)
