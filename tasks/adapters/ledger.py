"""The holdout ledger and the list of dataset versions, in the state database.

What has ever been held out in a project is never trained on later, in whatever version: otherwise a later score would
be measured on rows the model has seen.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from itertools import islice

import sqlalchemy as sa
from pydantic import Field

from tasks.adapters.state import engine
from tasks.adapters.tables import dataset_versions, holdout
from tasks.contracts import Digest, Record

_BATCH = 500
_STREAMED = 10_000
FIRST = (1, 0, 0)


class VersionEntry(Record):
    """One line of the list of versions."""

    project: str
    name: str
    major: int
    minor: int
    patch: int
    digest: Digest
    policy_digest: Digest
    manifest_digest: Digest
    uri: str
    created_at: datetime.datetime = Field(description="In UTC.")

    @property
    def version(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"

    @property
    def address(self) -> str:
        return f"ds://{self.project}/{self.name}@{self.version}"

    @property
    def number(self) -> tuple[int, int, int]:
        return self.major, self.minor, self.patch


def held_out(project: str, entities: Iterable[str]) -> set[str]:
    """Those of the entities that any earlier version of the project held out; they are read as they are needed."""
    with engine().connect() as connection:
        return {e for batch in _batches(entities) for e in _known(connection, project, batch)}


def all_held_out(project: str) -> Iterator[str]:
    """Every entity that any version of the project held out, one by one."""
    query = sa.select(holdout.c.entity).where(holdout.c.project == project)
    with engine().connect().execution_options(yield_per=_STREAMED) as connection:
        yield from connection.scalars(query)


def _known(connection: sa.Connection, project: str, entities: Iterable[str]) -> set[str]:
    asked = sa.select(holdout.c.entity).where(holdout.c.project == project, holdout.c.entity.in_(list(entities)))
    return set(connection.scalars(asked))


def _batches(entities: Iterable[str]) -> Iterator[set[str]]:
    left = iter(entities)
    while batch := set(islice(left, _BATCH)):
        yield batch


def entries(project: str | None = None, name: str | None = None) -> list[VersionEntry]:
    """Versions in the order of their numbers, by project and name."""
    table = dataset_versions
    query = sa.select(table).order_by(*(table.c[c] for c in ("project", "name", "major", "minor", "patch")))
    if project is not None:
        query = query.where(table.c.project == project)
    if name is not None:
        query = query.where(table.c.name == name)
    with engine().connect() as connection:
        return [_entry(row._mapping) for row in connection.execute(query)]


def _entry(row: sa.RowMapping) -> VersionEntry:
    made: datetime.datetime = row["created_at"]
    return VersionEntry.model_validate({**row, "created_at": made.replace(tzinfo=made.tzinfo or datetime.UTC)})


def next_number(latest: VersionEntry | None, digest: Digest, policy_digest: Digest) -> tuple[int, int, int]:
    """Major where the policy changed, minor where the rows changed, patch where only the rest of the manifest did."""
    if latest is None:
        return FIRST
    if latest.policy_digest != policy_digest:
        return latest.major + 1, 0, 0
    if latest.digest != digest:
        return latest.major, latest.minor + 1, 0
    return latest.major, latest.minor, latest.patch + 1


def record_version(
    project: str,
    name: str,
    *,
    digest: Digest,
    policy_digest: Digest,
    manifest_digest: Digest,
    uri: str,
    entities: Iterable[str],
) -> tuple[VersionEntry, bool]:
    """The version with this manifest, and whether it is new; its held-out entities enter the ledger with it.

    Both happen in one transaction. The caller holds the claim on the project's versions.
    """
    known = entries(project, name)
    entry = next((e for e in known if e.manifest_digest == manifest_digest), None)
    new = entry is None
    if entry is None:
        major, minor, patch = next_number(known[-1] if known else None, digest, policy_digest)
        entry = VersionEntry(
            project=project,
            name=name,
            major=major,
            minor=minor,
            patch=patch,
            digest=digest,
            policy_digest=policy_digest,
            manifest_digest=manifest_digest,
            uri=uri,
            created_at=datetime.datetime.now(datetime.UTC),
        )
    with engine().begin() as connection:
        if new:
            connection.execute(sa.insert(dataset_versions), entry.model_dump())
        for batch in _batches(entities):
            missing = sorted(batch - _known(connection, project, batch))
            lines = [{"project": project, "entity": e, "version": entry.address} for e in missing]
            if lines:
                connection.execute(sa.insert(holdout), lines)
    return entry, new
