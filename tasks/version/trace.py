"""Where a row comes from, and which rows came from a source."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from pydantic import Field

from tasks.adapters import ledger
from tasks.adapters.ledger import VersionEntry
from tasks.adapters.row_files import iter_rows
from tasks.adapters.store import Store
from tasks.contracts import Digest, Outcome, Record, Row, RowOrigin, Split
from tasks.digest import canonical_json
from tasks.errors import UsageError
from tasks.version.catalog import find, rows_path
from tasks.version.content import ALL, row_digest
from tasks.version.lines import holding

_ROW_ID = re.compile(r"[0-9a-f]{1,16}(:\d{0,})?")
_DIGEST = re.compile(r"[0-9a-f]{17,64}")
_DIGEST_START = re.compile(r"[0-9a-f]{8,64}")
_SHOWN = 5


class Trace(Record):
    """The way of one row from the bytes of its source to its place in a version."""

    address: str
    row_id: str
    digest: Digest = Field(description="Of the row's content as it is in the version.")
    origin: RowOrigin
    shape: str
    steps: tuple[str, ...]
    redactions: dict[str, int]
    outcome: Outcome
    reason: str
    yields_to: str
    split: Split | None


class Found(Record):
    """How many rows of one source a version holds."""

    address: str
    source: str = Field(description="Source as it was named, and the member of an archive.")
    digest: Digest
    rows: int
    kept: int
    merged: int
    quarantined: int
    train: int
    test: int
    row_ids: tuple[str, str] = Field(description="The first and the last row.")


def trace(wanted: str, store: Store, address: str = "") -> Trace:
    """The way of the one row that an id, the beginning of an id, or a content digest names."""
    entry, row = find_row(wanted, store, address)
    return Trace(
        address=entry.address, row_id=row.row_id, digest=row_digest(row), origin=row.origin, shape=row.shape,
        steps=row.steps, redactions=row.redactions, outcome=row.outcome, reason=row.reason, yields_to=row.yields_to,
        split=row.split,
    )  # fmt: skip


def find_row(wanted: str, store: Store, address: str = "") -> tuple[VersionEntry, Row]:
    """The row, looked for in the version at `address`, or in all versions, the newest first.

    Raises:
        UsageError: nothing or more than one row of a version is named so.
    """
    wanted = wanted.lower()
    if not (_ROW_ID.fullmatch(wanted) or _DIGEST.fullmatch(wanted)):
        raise UsageError("this is neither a row id nor a row digest", where=wanted,
                         remedy="a row id is written as 0123456789abcdef:000042")  # fmt: skip
    versions = [find(address)] if address else newest_first(store)
    for entry in versions:
        rows = list(islice(_matching(rows_path(entry, store), wanted), _SHOWN))
        exact = [row for row in rows if row.row_id == wanted]
        if len(exact or rows) == 1:
            return entry, (exact or rows)[0]
        if rows:
            raise UsageError(
                "more than one row begins so",
                where=wanted,
                why=", ".join(row.row_id for row in rows),
                remedy="give more of it, or use `tuneloop data where` for all rows of a source",
            )
    looked = ", ".join(entry.address for entry in versions[:_SHOWN]) or "there is no version"
    raise UsageError("there is no such row", where=wanted, why=f"looked in {looked}",
                     remedy="name the version with --address, or see `tuneloop data list`")  # fmt: skip


def newest_first(store: Store) -> list[VersionEntry]:
    """All versions that still have their rows."""
    made = sorted(ledger.entries(), key=lambda entry: (entry.created_at, entry.number), reverse=True)
    standing = [entry for entry in made if store.tombstone(entry.uri) is None]
    return [entry for entry in standing if (store.path(entry.uri) / ALL).is_file()]


def _matching(path: Path, wanted: str) -> Iterator[Row]:
    """Rows by id or by content digest; only a search by digest has to parse every row."""
    if _DIGEST.fullmatch(wanted):
        yield from (row for row in iter_rows(path) if row_digest(row).startswith(wanted))
    else:
        yield from (r for r in holding(path, [f'"row_id":"{wanted}'.encode()]) if r.row_id.startswith(wanted))


def where(source: str, store: Store, address: str = "", digests: Sequence[Digest] = ()) -> list[Found]:
    """Which versions hold rows of a source, the newest version first.

    Args:
        source: how the source was named, the end of its path, or the beginning of a digest (8 characters at least).
        digests: SHA-256 that the source is also known by, such as that of the local file of this name.
    """
    asked = [*digests, source.lower()] if _DIGEST_START.fullmatch(source.lower()) else list(digests)
    versions = [find(address)] if address else newest_first(store)
    return [found for entry in versions for found in _in_version(entry, source, asked, store)]


def _in_version(entry: VersionEntry, source: str, digests: Sequence[Digest], store: Store) -> list[Found]:
    counts: dict[tuple[str, Digest], Counter[str]] = {}
    ends: dict[tuple[str, Digest], tuple[str, str]] = {}
    part = source.rpartition("!/")[2]  # the member where one is named: it stands by itself in a row
    texts = [canonical_json(part)[1:-1].encode(), *(digest.encode() for digest in digests)]
    for row in holding(rows_path(entry, store), texts):
        name = source_name(row.origin)
        if _is_of(row.origin, name, source, digests):
            key = name, row.origin.source_digest
            counts.setdefault(key, Counter()).update(["rows", row.outcome, row.split or ""])
            ends[key] = ends.get(key, (row.row_id, ""))[0], row.row_id
    return [
        Found(address=entry.address, source=name, digest=digest, row_ids=ends[name, digest],
              **{field: of[field] for field in ("rows", "kept", "merged", "quarantined", "train", "test")})
        for (name, digest), of in sorted(counts.items())
    ]  # fmt: skip


def source_name(origin: RowOrigin) -> str:
    """The source as it was named, and the member of an archive."""
    return f"{origin.source_uri}!/{origin.member}" if origin.member else origin.source_uri


def _is_of(origin: RowOrigin, name: str, source: str, digests: Sequence[Digest]) -> bool:
    named = any(text == source or text.endswith(f"/{source}") for text in (name, origin.source_uri))
    own = (origin.source_digest, origin.container_digest)
    return named or any(digest.startswith(start) for digest in own for start in digests)
