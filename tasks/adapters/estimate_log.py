"""What trainings were estimated to take, and what they took: kept so that later estimates get better."""

from __future__ import annotations

import datetime

import sqlalchemy as sa
from pydantic import Field

from tasks.adapters.state import engine
from tasks.adapters.tables import estimates
from tasks.contracts import Digest, Record


class EstimatedTraining(Record):
    """One finished training."""

    training: Digest = Field(description="Its key.")
    device: str
    kind: str = Field(description="Method, adapter and how it was estimated.")
    estimated_seconds: float = Field(gt=0, description="Before any correction.")
    actual_seconds: float = Field(gt=0)
    estimated_bytes: int = Field(gt=0)
    actual_bytes: int = Field(gt=0)


def note(training: EstimatedTraining) -> None:
    """Keep a finished training; one of the same key replaces the older."""
    values = training.model_dump() | {"at": datetime.datetime.now(datetime.UTC)}
    with engine().begin() as connection:
        connection.execute(sa.delete(estimates).where(estimates.c.training == training.training))
        connection.execute(sa.insert(estimates), values)


def recent(limit: int = 100) -> list[EstimatedTraining]:
    """The newest trainings, the newest last."""
    query = sa.select(estimates).order_by(estimates.c.at.desc()).limit(limit)
    with engine().connect() as connection:
        rows = connection.execute(query).mappings().all()
    names = EstimatedTraining.model_fields
    return [EstimatedTraining(**{name: row[name] for name in names}) for row in reversed(rows)]
