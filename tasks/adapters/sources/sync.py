"""Bring what is known of all sources up to date, and name the documents they hold now.

Each document is read once to fingerprint it and never again while its version at the source stays the same. What was
fingerprinted is written down at once, so a killed sync goes on where it stood, and no change is recorded twice.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import Field

from tasks.adapters.claim import claim
from tasks.adapters.sources import spool
from tasks.adapters.sources.connector import Connector, Fingerprint, Item, Known, Listing, same_as
from tasks.adapters.sources.connectors import SUFFIXES, Surroundings, connect, identity, log_files
from tasks.adapters.sources.egress import Network
from tasks.adapters.sources.register import Noted, RecordChanges, Register
from tasks.adapters.sources.spec import LogFilter, SourceSpec, shown_url
from tasks.contracts import Digest, Record
from tasks.errors import UsageError
from tasks.settings import Settings

_FLUSH_SECONDS = 0.2
_AT_ONCE = 8  # requests to an object store under way at the same time


class Document(Record):
    """One document of a source. Can be sent to another process, which opens it with `copies.local_copy`."""

    uri: str = Field(description="As people and rows are told it, relative where possible; no credentials.")
    name: str = Field(description="File name; its ending says the format.")
    digest: Digest = Field(description="SHA-256 of the bytes.")
    size: int = Field(ge=0, description="Bytes.")
    source: int = Field(ge=0, description="Position in the list of sources.")
    spec: SourceSpec
    base: str = Field(description="Folder where relative paths start.")
    address: str = Field(description="What opens it.")
    token: str = Field(description="Its version at the source; empty where the source does not say.")
    explicit: bool = Field(False, description="The source names it itself; it was not found in a folder.")
    spool: str = Field("", description="Records: temporary file that holds them; gone when the sync's block ends.")


class Changes(Record):
    """What differs from the sync before, by the addresses that people are told."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    records: dict[str, RecordChanges] = Field(
        default_factory=dict, description="Sources with a key: counts of records."
    )


class Sync(Record):
    """The sources as they are now."""

    documents: tuple[Document, ...] = Field(description="Each content once, in the order of the digests.")
    passed_over: tuple[str, ...] = Field(description="What was not taken, with the reason.")
    changes: Changes
    read: tuple[str, ...] = Field(description="Documents whose bytes were read by this sync.")


@dataclass
class _Source:
    number: int
    spec: SourceSpec
    register: Register
    known: dict[str, Known]
    connector: Connector
    listing: Listing
    log_files: frozenset[str]
    chosen: list[Item] = field(default_factory=list)


@dataclass
class _Account:
    """What a sync gathers."""

    documents: list[Document] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    noted: list[Noted] = field(default_factory=list)
    read: list[str] = field(default_factory=list)


@contextlib.contextmanager
def sync(
    sources: Sequence[SourceSpec],
    base: Path,
    suffixes: Sequence[str] = SUFFIXES,
    settings_key: Callable[[SourceSpec], object] = lambda _spec: None,
    network: Network | None = None,
) -> Iterator[Sync]:
    """All documents of all sources; temporary files of records live until the block ends.

    Args:
        base: folder where relative paths start.
        suffixes: endings of names that can be read, in lower case.
        settings_key: what has to be equal where two sources hold the same content.

    Raises:
        UsageError: a source that is not there, holds nothing that can be read, or contradicts another one.
        EnvironmentUnusable: a source that does not answer.
    """
    spool.sweep()
    with contextlib.ExitStack() as spools:
        around = Surroundings(base, tuple(suffixes), network or Network(), spools)
        with contextlib.ExitStack() as claims:
            found = _list(sources, around, claims)
            _choose(found, settings_key)
            account = _Account()
            for source in found:
                _read(source, around, account)
        yield _result(account, settings_key)


def _list(sources: Sequence[SourceSpec], around: Surroundings, claims: contextlib.ExitStack) -> list[_Source]:
    """Every source with what it holds now. Claims are taken in one order: two syncs never wait in a ring."""
    keys = [identity(spec, around.base) for spec in sources]
    for key in sorted(set(keys)):
        shown = _shown(sources[keys.index(key)])
        claims.enter_context(claim(Settings().root / "locks" / f"source-{key[:32]}.lock", f"source {shown}"))
    return [_open(number, spec, key, around) for number, (spec, key) in enumerate(zip(sources, keys, strict=True))]


def _open(number: int, spec: SourceSpec, key: str, around: Surroundings) -> _Source:
    register = Register(key, _shown(spec))
    connector = connect(spec, around, register.salt)
    listing = connector.listing()
    if not listing.items:
        raise UsageError(
            "the source holds no file that can be read",
            where=_shown(spec),
            why="; ".join(listing.passed_over[-5:]) or "nothing is there",
            remedy=f"give files that end in {', '.join(around.suffixes)}",
        )
    return _Source(number, spec, register, register.known(), connector, listing, log_files(spec, around))


def _shown(spec: SourceSpec) -> str:
    return spec.path if spec.kind == "local" else shown_url(spec.path)


def _choose(found: Sequence[_Source], settings_key: Callable[[SourceSpec], object]) -> None:
    """Every document once: the source that names it itself wins over one with a folder or a pattern that holds it."""
    chosen: dict[tuple[str, str, LogFilter | None], tuple[_Source, Item]] = {}
    logs = {(source.spec.kind, address) for source in found for address in source.log_files}
    for source in found:
        for item in _without_logs(source, logs):
            address = (source.spec.kind, item.address, source.spec.log)  # another filter: other rows of the same log
            old = chosen.get(address)
            if old is None or (item.explicit and not old[1].explicit):
                chosen[address] = (source, item)
            elif old[1].explicit == item.explicit and settings_key(old[0].spec) != settings_key(source.spec):
                raise _contradiction("one file is named by two sources with different settings", item.uri)
    for source, item in chosen.values():
        source.chosen.append(item)


def _without_logs(source: _Source, logs: Set[tuple[str, str]]) -> list[Item]:
    """The items of a source but for logs: as files they would be read past the filter, with the tags of their users."""
    if source.spec.of_records:
        return list(source.listing.items)
    inside = [item for item in source.listing.items if (source.spec.kind, item.address) in logs]
    if named := next((item for item in inside if item.explicit), None):
        raise UsageError(
            "one file is named by two sources, as a log and as a file",
            where=named.uri,
            why="read as a file it would come without the filter of the log",
            remedy="leave one of the two sources out",
        )
    passed_over = (*source.listing.passed_over, *(f"{item.uri}: another source reads it as a log" for item in inside))
    source.listing = replace(source.listing, passed_over=passed_over)
    return [item for item in source.listing.items if (source.spec.kind, item.address) not in logs]


def same_content_differs(first: str, second: str) -> UsageError:
    """Two files have equal bytes, and their sources differ in what has to be equal then."""
    return _contradiction("two sources hold the same content with different settings", f"{first}, {second}")


def _contradiction(what: str, where: str) -> UsageError:
    return UsageError(
        what, where=where, why="shape, columns, split or privacy differ", remedy="leave one of the two sources out"
    )


def _read(source: _Source, around: Surroundings, account: _Account) -> None:
    waiting: list[tuple[Item, Known | None, Fingerprint]] = []
    since = time.monotonic()
    try:
        for item, found in _fingerprints(source):
            waiting.append((item, source.known.get(item.address), found))
            account.documents.append(_document(source, item, found, around.base))
            account.passed_over += found.passed_over
            account.read += [item.uri] if found.read else []
            if time.monotonic() - since > _FLUSH_SECONDS:
                account.noted += source.register.note(waiting)
                waiting, since = [], time.monotonic()
    finally:
        account.noted += source.register.note(waiting)
    gone = source.register.finish([item.address for item in source.listing.items], source.known)
    account.noted += [Noted(_uri_of(address, around.base), "removed") for address in gone]
    account.passed_over += source.listing.passed_over


def _fingerprints(source: _Source) -> Iterator[tuple[Item, Fingerprint]]:
    """Fingerprints in the order of the items; object stores are asked for several at once."""
    if source.spec.kind != "objects":
        yield from ((item, _fingerprint(source.connector, source.known, item)) for item in source.chosen)
        return
    pool = ThreadPoolExecutor(_AT_ONCE)
    pending: deque[tuple[Item, Future[Fingerprint]]] = deque()
    try:
        for item in source.chosen:
            pending.append((item, pool.submit(_fingerprint, source.connector, source.known, item)))
            if len(pending) > _AT_ONCE:
                first, future = pending.popleft()
                yield first, future.result()
        for first, future in pending:
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _fingerprint(connector: Connector, known: Mapping[str, Known], item: Item) -> Fingerprint:
    old = known.get(item.address)
    if old and item.token and old.token == item.token:
        return same_as(old)
    return connector.fingerprint(item, old)


def _document(source: _Source, item: Item, found: Fingerprint, base: Path) -> Document:
    return Document(
        uri=item.uri, name=item.name, digest=found.digest, size=found.size, source=source.number, spec=source.spec,
        base=str(base), address=item.address, token=found.token, explicit=item.explicit, spool=found.spool,
    )  # fmt: skip


def _uri_of(address: str, base: Path) -> str:
    """How a document that is gone was shown: its address, relative to the base where it lay there."""
    if "://" in address:
        return shown_url(address)
    path = Path(address)
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else address


def _result(account: _Account, settings_key: Callable[[SourceSpec], object]) -> Sync:
    documents: dict[str, Document] = {}
    for document in sorted(account.documents, key=lambda d: (d.digest, d.uri)):
        first = documents.setdefault(document.digest, document)
        if first is document:
            continue
        if settings_key(first.spec) != settings_key(document.spec):
            raise same_content_differs(first.uri, document.uri)
        account.passed_over.append(f"{document.uri}: the same content as {first.uri}")
    return Sync(
        documents=tuple(documents.values()),
        passed_over=tuple(account.passed_over),
        changes=_changes(account.noted),
        read=tuple(account.read),
    )


def _changes(noted: Sequence[Noted]) -> Changes:
    return Changes(
        added=tuple(n.uri for n in noted if n.change == "added"),
        changed=tuple(n.uri for n in noted if n.change == "changed"),
        removed=tuple(n.uri for n in noted if n.change == "removed"),
        unchanged=tuple(n.uri for n in noted if n.change == "unchanged"),
        records={n.uri: n.records for n in noted if n.records},
    )
