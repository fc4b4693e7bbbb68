"""Where a person's rows are in the store: every file of every stage output, as a stream.

First the rows themselves are looked for, by text before anything is parsed; then what names them without being rows
(generated answers by the digest of their row, quarantine tables by row id), and outputs that point at files of those.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from pydantic import Field, ValidationError

from tasks.adapters.row_files import OUTPUT, Output, holding
from tasks.adapters.store import MARKER, Store
from tasks.contracts import Digest, Outcome, Record, Row, Split
from tasks.erase.search import REQUEST, Search

Fingerprint = Callable[[Row], str]
_NO_TEXT = (".safetensors", ".npy", ".npz", ".png", ".gguf", ".pt", ".bin")
_TABLE = ".parquet"
_NAMED = re.compile(rb"[0-9a-f]{64}|[0-9a-f]{16}:[0-9]{6,}")
_TEXT_BYTES = 1 << 20
_OVERLAP = 256


class Hit(NamedTuple):
    """One row of the person, without its content."""

    row_id: str
    source: Digest
    outcome: Outcome
    split: Split | None
    fingerprint: str
    request: str
    """Id of the logged request that the row was made of; empty for other rows."""


class Affected(Record):
    """A stage output that holds something of the person."""

    uri: str
    rows: int = Field(0, ge=0, description="Rows of the person; 0 where the output only names them or points at them.")
    train: int = Field(0, ge=0)
    test: int = Field(0, ge=0)
    merged: int = Field(0, ge=0)
    quarantined: int = Field(0, ge=0)


class Finding(NamedTuple):
    """All that was found in the store."""

    outputs: tuple[Affected, ...]
    hits: dict[str, Hit]

    @property
    def uris(self) -> set[str]:
        return {output.uri for output in self.outputs}


def find(store: Store, search: Search, fingerprint: Fingerprint) -> Finding:
    """Every output that holds the person's rows, names them, or points at an output that does.

    Args:
        fingerprint: how generated answers name the row that they answer.
    """
    hits: dict[str, Hit] = {}
    affected: dict[str, Affected] = {}
    for uri in store.outputs():
        rows, named = rows_in(store, uri, search, fingerprint)
        if rows or named:
            affected[uri] = _counted(uri, rows.values())
            hits.update(rows)
    names = {hit.row_id.encode() for hit in hits.values()} | {hit.fingerprint.encode() for hit in hits.values()}
    if hits:
        others = [uri for uri in store.outputs() if uri not in affected]
        affected |= {uri: Affected(uri=uri) for uri in others if _names(store, uri, names, search)}
    affected |= {uri: Affected(uri=uri) for uri in _pointing(store, affected.keys())}
    return Finding(tuple(affected[uri] for uri in sorted(affected)), hits)


def rows_in(store: Store, uri: str, search: Search, fingerprint: Fingerprint) -> tuple[dict[str, Hit], bool]:
    """Rows of the person in an output by their id, and whether another text of it holds what is searched for."""
    rows: dict[str, Hit] = {}
    named, needles = False, search.needles
    for name in text_files(store, uri):
        for piece in holding(_pieces(store, uri, name), needles):
            row = _row(piece)
            if row is None:
                named = True
            elif search.matches(row):
                rows[row.row_id] = _hit(row, fingerprint)
    return rows, named


def text_files(store: Store, uri: str) -> list[str]:
    """Files of an output that can hold text of a row."""
    return [n for n in store.files(uri) if not n.endswith((*_NO_TEXT, _TABLE)) and n != MARKER]


def _pieces(store: Store, uri: str, name: str) -> Iterator[bytes]:
    """A file as lines where it is made of lines, else as blocks that overlap."""
    with store.open_file(uri, name) as stream:
        if name.endswith(".jsonl"):
            yield from stream
            return
        tail = b""
        while block := stream.read(_TEXT_BYTES):
            yield tail + block
            tail = block[-_OVERLAP:]


def _row(line: bytes) -> Row | None:
    try:
        return Row.model_validate_json(line)
    except ValidationError:
        return None


def _hit(row: Row, fingerprint: Fingerprint) -> Hit:
    return Hit(
        row.row_id, row.origin.source_digest, row.outcome, row.split, fingerprint(row), row.metadata.get(REQUEST, "")
    )


def _counted(uri: str, hits: Collection[Hit]) -> Affected:
    kept = [hit for hit in hits if hit.outcome == "kept"]
    return Affected(
        uri=uri,
        rows=len(hits),
        train=sum(hit.split == "train" for hit in kept),
        test=sum(hit.split == "test" for hit in kept),
        merged=sum(hit.outcome == "merged" for hit in hits),
        quarantined=sum(hit.outcome == "quarantined" for hit in hits),
    )


def _names(store: Store, uri: str, names: Collection[bytes], search: Search) -> bool:
    """Whether something that is no row of another person names one of the rows."""
    for name in text_files(store, uri):
        for piece in _pieces(store, uri, name):
            if any(match.group() in names for match in _NAMED.finditer(piece)) and _row(piece) is None:
                return True
    tables = (name for name in store.files(uri) if name.endswith(_TABLE))
    return any(_in_table(store, uri, name, names, search) for name in tables)


def _in_table(store: Store, uri: str, name: str, names: Collection[bytes], search: Search) -> bool:
    """Whether a Parquet file has one of the row ids in any column of texts, or lists a subject."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = {text.decode() for text in names} | set(search.subjects)
    with store.open_file(uri, name) as stream:
        table = pq.ParquetFile(stream)
        columns = [f.name for f in table.schema_arrow if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
        return any(
            not wanted.isdisjoint(column.to_pylist())
            for batch in table.iter_batches(columns=columns)
            for column in batch.columns
        )


def _pointing(store: Store, affected: Collection[str]) -> set[str]:
    """Outputs whose list of shards names a file in an affected output, and outputs that point at those."""
    lists = {uri: {shard.uri for shard in output.shards} for uri, output in output_lists(store)}
    found: set[str] = set()
    while more := {
        u for u, named in lists.items() if u not in found and u not in affected and named & {*affected, *found}
    }:
        found |= more
    return found


def output_lists(store: Store) -> Iterator[tuple[str, Output]]:
    """Every list of shards in the store, with the output that it belongs to."""
    for uri in store.outputs():
        if OUTPUT in store.files(uri):
            with store.open_file(uri, OUTPUT) as stream:
                yield uri, Output.model_validate_json(stream.read())
