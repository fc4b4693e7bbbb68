"""Failures of the past: which code, how often, whether it was repaired. No text of a person, no path, no row."""

from __future__ import annotations

import datetime

import sqlalchemy as sa
from pydantic import Field

from tasks.adapters.state import engine
from tasks.adapters.tables import failures
from tasks.contracts import Record


class ErrorCount(Record):
    """What is known of all failures of one code."""

    code: str
    count: int = Field(ge=1)
    repaired: int = Field(ge=0, description="Of these, how many a repair got over.")
    open: int = Field(ge=0, description="Of these, how many belong to work that has not ended.")
    last_change: str = Field(description="What was done the last time.")
    last_seen: datetime.datetime = Field(description="UTC.")


def note(code: str, subject: str, *, step: int | None = None, change: str = "", repaired: bool | None = None) -> None:
    """Count a failure.

    Args:
        subject: what failed, by digest or id: a training's key, a run's id.
        change: what is done about it, in our own words.
        repaired: None while its work goes on.
    """
    values = {
        "at": datetime.datetime.now(datetime.UTC),
        "code": code,
        "subject": subject,
        "step": step,
        "change": change,
        "repaired": repaired,
    }
    with engine().begin() as connection:
        connection.execute(sa.insert(failures), values)


def settle(subject: str, *, repaired: bool) -> None:
    """Say how the failures ended that are open: the subject came to its end in spite of them, or did not."""
    still_open = (failures.c.subject == subject) & failures.c.repaired.is_(None)
    with engine().begin() as connection:
        connection.execute(sa.update(failures).where(still_open).values(repaired=repaired))


def counts() -> list[ErrorCount]:
    """Failures by code, the most frequent first."""
    numbers = sa.select(
        failures.c.code,
        sa.func.count().label("count"),
        sa.func.sum(sa.case((failures.c.repaired.is_(True), 1), else_=0)).label("repaired"),
        sa.func.sum(sa.case((failures.c.repaired.is_(None), 1), else_=0)).label("open"),
        sa.func.max(failures.c.id).label("last"),
    ).group_by(failures.c.code)
    grouped = numbers.subquery()
    query = (
        sa.select(grouped, failures.c.change, failures.c.at)
        .join(failures, failures.c.id == grouped.c.last)
        .order_by(grouped.c.count.desc(), grouped.c.code)
    )
    with engine().connect() as connection:
        return [_counted(row) for row in connection.execute(query).mappings()]


def _counted(row: sa.RowMapping) -> ErrorCount:
    at: datetime.datetime = row["at"]
    return ErrorCount(
        code=row["code"],
        count=row["count"],
        repaired=row["repaired"],
        open=row["open"],
        last_change=row["change"],
        last_seen=at.replace(tzinfo=at.tzinfo or datetime.UTC),
    )
