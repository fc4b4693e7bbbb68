"""Whom an erasure looks for, and how a person's row is recognised. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydantic import Field

from tasks.adapters import erasures
from tasks.contracts import Record, Row
from tasks.digest import canonical_json

REQUEST = "request"  # metadata of a row that was made of a logged request: the id of that
_METADATA = re.compile(r"(?P<name>[A-Za-z][\w.-]*)=(?P<value>.+)")


class Search(Record):
    """What a row of the person holds: one of the keyed hashes, or one of the metadata values."""

    subjects: tuple[str, ...] = Field((), description="Keyed hashes of the person's identifiers.")
    users: tuple[str, ...] = Field((), description="Keyed hashes of user tags, as rows from request logs hold them.")
    metadata: tuple[tuple[str, str], ...] = Field((), description="Names and values, such as author and 4711.")

    def with_requests(self, ids: Iterable[str]) -> Search:
        """Looks also for the rows that were made of logged requests."""
        return self.model_copy(update={"metadata": (*self.metadata, *((REQUEST, request) for request in ids))})

    @property
    def needles(self) -> tuple[bytes, ...]:
        """Texts of which a row's line holds at least one if the row is the person's."""
        values = (f"{canonical_json(name)}:{canonical_json(value)}".encode() for name, value in self.metadata)
        return (*(hashed.encode() for hashed in (*self.subjects, *self.users)), *values)

    def matches(self, row: Row) -> bool:
        if not set(self.subjects).isdisjoint(row.subjects) or not set(self.users).isdisjoint(row.metadata.values()):
            return True
        return any(row.metadata.get(name) == value for name, value in self.metadata)

    def keyed(self, key: bytes) -> tuple[str, ...]:
        """Keyed hashes of everything that is searched for."""
        named = (erasures.keyed_metadata(name, value, key) for name, value in self.metadata)
        return (*self.subjects, *self.users, *named)


def metadata_query(query: str) -> tuple[str, str] | None:
    """Name and value of a query like `author=4711`; None where it is an identifier itself."""
    match = _METADATA.fullmatch(query.strip())
    return None if match is None else (match["name"], match["value"].strip())
