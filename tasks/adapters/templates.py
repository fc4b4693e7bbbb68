"""Settings of a run, saved under a name to start from again."""

from __future__ import annotations

import datetime
import difflib
import json
from typing import Any

import sqlalchemy as sa
from pydantic import Field

from tasks.adapters.state import engine
from tasks.adapters.tables import templates
from tasks.contracts import Record
from tasks.errors import UsageError

NAME = r"[a-z0-9][a-z0-9_-]{0,63}"


class SavedTemplate(Record):
    """One template."""

    name: str = Field(pattern=f"^{NAME}$")
    sections: dict[str, Any] = Field(description="Section of a configuration → the values that were given there.")
    saved_from: str = Field(description="Name of the configuration file.")
    at: datetime.datetime = Field(description="In UTC.")


def save(template: SavedTemplate, *, replace: bool = False) -> None:
    """Keep a template.

    Raises:
        UsageError: the name is taken, and it is not to be replaced.
    """
    values = template.model_dump() | {"sections": json.dumps(template.sections, sort_keys=True)}
    with engine().begin() as connection:
        if replace:
            connection.execute(sa.delete(templates).where(templates.c.name == template.name))
        try:
            connection.execute(sa.insert(templates), values)
        except sa.exc.IntegrityError:
            raise UsageError("there is a template of this name already", where=template.name,
                             remedy="choose another name, or replace it with --force") from None  # fmt: skip


def saved() -> tuple[SavedTemplate, ...]:
    """All templates by name."""
    with engine().connect() as connection:
        return tuple(_template(row) for row in connection.execute(sa.select(templates).order_by(templates.c.name)))


def find(name: str) -> SavedTemplate:
    """The template of this name.

    Raises:
        UsageError: there is none.
    """
    with engine().connect() as connection:
        row = connection.execute(sa.select(templates).where(templates.c.name == name)).first()
    if row is None:
        raise _unknown(name)
    return _template(row)


def remove(name: str) -> None:
    """Forget a template; files that were started from it stay as they are.

    Raises:
        UsageError: there is none of this name.
    """
    with engine().begin() as connection:
        if not connection.execute(sa.delete(templates).where(templates.c.name == name)).rowcount:
            raise _unknown(name)


def _template(row: sa.Row[Any]) -> SavedTemplate:
    at: datetime.datetime = row.at
    return SavedTemplate(name=row.name, sections=json.loads(row.sections), saved_from=row.saved_from,
                         at=at.replace(tzinfo=at.tzinfo or datetime.UTC))  # fmt: skip


def _unknown(name: str) -> UsageError:
    known = [template.name for template in saved()]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean `{close[0]}`?" if close else f"saved are: {', '.join(known) or 'none'}"
    return UsageError("there is no template of this name", where=name, remedy=hint)
