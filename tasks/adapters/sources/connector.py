"""What every kind of source does: list what it holds, fingerprint one of it, copy one of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tasks.adapters.sources.record_index import RecordIndex
from tasks.contracts import Digest, Record


class Item(Record):
    """One document at its source, before it is read."""

    uri: str
    """As people are told it: no credentials, relative where possible."""
    address: str
    """What opens it; tells it from every other document of the source."""
    name: str
    """Decides the format."""
    token: str = ""
    """Differs when the content does; empty where the listing cannot say."""
    explicit: bool = False
    """Named itself, not found in a folder."""


class Known(Record):
    """What an earlier sync wrote down about a document."""

    token: str
    digest: Digest
    size: int
    present: bool


@dataclass(frozen=True)
class Listing:
    """Everything a source holds, and what was passed over, with the reason."""

    items: tuple[Item, ...]
    passed_over: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fingerprint:
    """A document's content in 32 bytes, and the version it belongs to."""

    token: str
    digest: Digest
    size: int
    spool: str = ""
    """Temporary file with the records; lives as long as the sync's block."""
    index: RecordIndex | None = None
    read: bool = True
    """False where the source itself said that nothing changed."""
    passed_over: tuple[str, ...] = field(default=())


class Connector(Protocol):
    """One source."""

    def listing(self) -> Listing:
        """All documents; an error where the list would not be complete."""
        ...

    def fingerprint(self, item: Item, known: Known | None) -> Fingerprint:
        """Read the document, or say that it is what was `known`."""
        ...

    def copy(self, address: str, target: Path) -> None:
        """Write the document's bytes to `target`."""
        ...


class RecordReader(Protocol):
    """A source that yields records instead of documents."""

    uri: str
    """As people are told it."""
    address: str
    """Tells it from other sources; no credentials."""
    name: str
    """Of the document that its records become."""
    token: str
    """Version of what `records` read; known when it ended, empty where the source does not say."""
    passed_over: tuple[str, ...]
    """What `records` left out."""

    def unchanged(self, token: str) -> bool:
        """Whether the source itself says that nothing changed since that version."""
        ...

    def records(self) -> Iterator[Mapping[str, Any] | bytes]:
        """All records, values in the types of JSON; a line of a log that is no record comes as it is."""
        ...


def same_as(known: Known) -> Fingerprint:
    return Fingerprint(known.token, known.digest, known.size, read=False)
