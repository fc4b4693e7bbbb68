"""What is known before a training: prices, and how well earlier estimates held. Pure; travels with the job."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from pydantic import Field

from tasks.contracts import Record
from tasks.train.estimate.prices import PriceTable

_ENOUGH = 5  # trainings after which their spread says more than the usual margin


class Past(Record):
    """What was estimated and measured of an earlier training."""

    device: str
    kind: str = Field(description="Method, adapter and whether it was calibrated.")
    time_ratio: float = Field(gt=0, description="Actual over estimated seconds, before any correction.")
    memory_ratio: float = Field(gt=0)


class Known(Record):
    """What the trainer process needs for an estimate and cannot look up where it runs."""

    prices: PriceTable | None = Field(None, description="None: nothing is known of prices.")
    past: tuple[Past, ...] = Field((), description="Earlier trainings, the newest last.")
    saving_bytes_per_second: float = Field(3e8, gt=0, description="Of checkpoints, as a dry run found it.")


class Correction(Record):
    """What earlier trainings say about estimates: factors, and how far they may be off."""

    time: float = 1.0
    memory: float = 1.0
    margin: float | None = Field(None, description="Half the width of the interval; None: too few trainings to say.")
    runs: int = 0


def correction(past: Sequence[Past], device: str, kind: str) -> Correction:
    """The correction from trainings of the same kind on the same device; few of them count for less."""
    alike = [p for p in past if p.device == device and p.kind == kind]
    if not alike:
        return Correction()
    trust = len(alike) / (len(alike) + 2)
    times, memories = ([math.log(getattr(p, name)) for p in alike] for name in ("time_ratio", "memory_ratio"))
    middle = statistics.median(times)
    spread = 2 * statistics.median([abs(t - middle) for t in times])
    return Correction(
        time=math.exp(middle * trust),
        memory=math.exp(statistics.median(memories) * trust),
        margin=max(0.05, math.expm1(spread)) if len(alike) >= _ENOUGH else None,
        runs=len(alike),
    )
