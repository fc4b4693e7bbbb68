"""Records of a database, an API or a log as one JSON Lines document: canonical form, an order of its own, fingerprints.

The bytes depend on the records alone: keys of an object are sorted, and with a `key` so are the records. Memory: about
400 bytes for each record with a key, nothing without.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, BinaryIO

from tasks.adapters.sources.spool import temporary_file
from tasks.digest import canonical_json
from tasks.errors import DataRefused

_DIGEST_BYTES = 16
_Entry = tuple[bytes, int, int]  # key, offset, length


@dataclass(frozen=True)
class RecordIndex:
    """(keyed hash of a record's key, keyed hash of its content), in the order of the hashes.

    Keyed with a salt of this source: a key may be somebody's e-mail address.
    """

    entries: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Written:
    """What was written: digest and size of the file, the index where there is a key, and how many came twice."""

    digest: str
    size: int
    records: int
    repeated: int = 0
    index: RecordIndex | None = None


def write_records(
    records: Iterable[Mapping[str, Any] | bytes], target: Path, key: str, salt: bytes, uri: str
) -> Written:
    """Write the records to `target`, sorted by `key`, or in the order they come where there is none.

    Raises:
        DataRefused: a record without the key, two different records with one key, or a number JSON does not have.
    """
    if not key:
        with target.open("wb") as stream:
            return _in_order(records, stream, uri)
    with temporary_file("arrival.jsonl") as arrival:
        entries = _arrive(records, arrival, key, uri)
        entries.sort()
        with arrival.open("rb") as unsorted, target.open("wb") as stream:
            return _sorted(entries, unsorted, stream, salt, key, uri)


def record_line(record: Mapping[str, Any] | bytes, uri: str) -> bytes:
    """One record in canonical form. Half a surrogate pair stays the escape it was, a broken line what it was."""
    if isinstance(record, bytes):
        return record.strip().decode("utf-8", "replace").encode() + b"\n"
    try:
        return canonical_json(record).encode("utf-8", "backslashreplace") + b"\n"
    except (ValueError, RecursionError, TypeError) as error:
        raise DataRefused(
            "a record of the source is no JSON",
            where=uri,
            why="it holds NaN or infinity" if isinstance(error, ValueError) else "it is nested too deeply",
            remedy="correct the record at its source, or leave the field out of the query",
        ) from None


def _in_order(records: Iterable[Mapping[str, Any] | bytes], stream: BinaryIO, uri: str) -> Written:
    sha, size, count = sha256(), 0, 0
    for record in records:
        line = record_line(record, uri)
        stream.write(line)
        sha.update(line)
        size, count = size + len(line), count + 1
    return Written(sha.hexdigest(), size, count)


def _arrive(records: Iterable[Mapping[str, Any] | bytes], arrival: Path, key: str, uri: str) -> list[_Entry]:
    entries: list[_Entry] = []
    offset = 0
    with arrival.open("wb") as stream:
        for number, record in enumerate(records):
            line = record_line(record, uri)
            stream.write(line)
            entries.append((_key_of(record, line, key, f"{uri}, record {number}"), offset, len(line)))
            offset += len(line)
    return entries


def _key_of(record: Mapping[str, Any] | bytes, line: bytes, key: str, where: str) -> bytes:
    """The key in canonical form. What is no record sorts behind all records."""
    if isinstance(record, bytes):
        return b"\xff" + sha256(line).digest()
    if record.get(key) is None:
        raise DataRefused(
            f"a record has no `{key}`",
            where=where,
            why="the key of a source has to be in every record",
            remedy="correct data.sources[].key, or leave it out",
        )
    return canonical_json(record[key]).encode("utf-8", "backslashreplace")


def _sorted(entries: list[_Entry], unsorted: BinaryIO, stream: BinaryIO, salt: bytes, key: str, uri: str) -> Written:
    sha, size, repeated = sha256(), 0, 0
    index: list[tuple[bytes, bytes]] = []
    last_key, last_line = b"", b""
    for name, offset, length in entries:
        unsorted.seek(offset)
        line = unsorted.read(length)
        if name == last_key:
            _same_record(line, last_line, key, uri)
            repeated += 1
            continue
        last_key, last_line = name, line
        stream.write(line)
        sha.update(line)
        size += length
        index.append((_keyed(name, salt), _keyed(line, salt)))
    index.sort()
    return Written(sha.hexdigest(), size, len(index), repeated, RecordIndex(tuple(index)))


def _same_record(one: bytes, other: bytes, key: str, uri: str) -> None:
    if one != other:
        raise DataRefused(
            f"two different records have the same `{key}`",
            where=uri,
            why="the key of a source has to be unique, or the source changed while its pages were read",
            remedy="run again; if it stays, name a unique field in data.sources[].key",
        )


def _keyed(data: bytes, salt: bytes) -> bytes:
    return blake2b(data, digest_size=_DIGEST_BYTES, key=salt).digest()
