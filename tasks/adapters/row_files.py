"""Rows on disk: shards of JSON Lines, one object of `tasks.contracts.Row` a line, and what is said about them.

The output of a data stage is a folder with `output.json`, which lists the shards in canonical order: by the digest of
the source, then by record. Where the shards are cut depends on the sources alone, never on the number of workers, so
one shard of a stage becomes one shard of the next and any number of processes come to the same bytes. A shard may lie
in another stage output (the rows of a document that was read by an earlier run).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import Field

from tasks.adapters.store import Store
from tasks.contracts import Digest, Record, Row, RowCounts, Rows
from tasks.digest import canonical_json, digest_of

OUTPUT = "output.json"
SHARD_ROWS = 4096


class Privacy(Record):
    """Which personal data was replaced in a file of rows; travels with it, so that every later scan looks for it."""

    entities: tuple[str, ...] = Field(description="Entities that were looked for.")
    phone_regions: tuple[str, ...] = Field(description="Two-letter codes of countries.")
    actions: dict[str, str] = Field(
        default_factory=dict, description="Entity → redact, mask, pseudonymise, drop or report; redact where not named."
    )
    key_fingerprint: str = Field("", description="Of the key that pseudonyms and subject hashes were made with.")


class Shard(Record):
    """One file of rows."""

    uri: str = Field(description="Stage output that holds the file.")
    file: str = Field(description="Path inside that output.")
    digest: Digest = Field(description="Over the rows in order, paths of sources excluded.")
    counts: RowCounts
    reasons: dict[str, int] = Field(default_factory=dict, description="reason code → rows, merged and quarantined.")
    privacy: Privacy | None = Field(None, description="Where its source has rules of its own; else the output's.")

    @property
    def rows(self) -> int:
        return self.counts.rows_in


class Output(Record):
    """What `output.json` holds."""

    privacy: Privacy
    shards: tuple[Shard, ...]

    def privacy_of(self, shard: Shard) -> Privacy:
        """What was replaced in the rows of a shard."""
        return shard.privacy or self.privacy


class ShardWriter:
    """Writes rows to a file one by one and counts them; memory does not grow with their number.

    Args:
        uri: the stage output that the file will be part of.
        file: path of the file inside `folder`, the output's work folder.
    """

    def __init__(self, folder: Path, uri: str, file: str) -> None:
        self._uri, self._file = uri, file
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream: BinaryIO = path.open("wb")
        self._digest = sha256()
        self._outcomes: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._redacted = 0

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def write(self, row: Row) -> None:
        line = row_line(row)
        self._stream.write(line)
        self._digest.update(_without_path(line, row))
        self._outcomes[row.outcome] += 1
        self._redacted += bool(row.redactions)
        if row.outcome != "kept":
            self._reasons[reason_code(row)] += 1

    def shard(self) -> Shard:
        """The reference to what was written; the file is complete then."""
        self._stream.close()
        counts = RowCounts(
            rows_in=self._outcomes.total(),
            kept=self._outcomes["kept"],
            merged=self._outcomes["merged"],
            quarantined=self._outcomes["quarantined"],
            redacted=self._redacted,
        )
        reasons = dict(sorted(self._reasons.items()))
        return Shard(uri=self._uri, file=self._file, digest=self._digest.hexdigest(), counts=counts, reasons=reasons)


def row_line(row: Row) -> bytes:
    """The row as one line of JSON; values that are the default are left out."""
    return row.model_dump_json(exclude_defaults=True).encode() + b"\n"


def _without_path(line: bytes, row: Row) -> bytes:
    """The line without the path of its source: equal data in two places are the same rows."""
    return line.replace(canonical_json(row.origin.source_uri).encode(), b'""', 1)


def write_shard(folder: Path, uri: str, file: str, rows: Iterable[Row]) -> Shard:
    with ShardWriter(folder, uri, file) as writer:
        for row in rows:
            writer.write(row)
        return writer.shard()


def iter_rows(path: Path) -> Iterator[Row]:
    """The rows of one file, one by one."""
    with path.open("rb") as stream:
        for line in stream:
            yield Row.model_validate_json(line)


def holding(pieces: Iterable[bytes], texts: Sequence[bytes]) -> Iterator[bytes]:
    """The lines, or pieces, of a file in which one of the texts is: most are passed over without being parsed."""
    return (piece for piece in pieces if any(text in piece for text in texts))


def shard_path(store: Store, shard: Shard) -> Path:
    """Local path of a shard; a remote output is copied to the cache first."""
    return store.path(shard.uri) / shard.file


def finish_output(folder: Path, uri: str, shards: Sequence[Shard], privacy: Privacy) -> Rows:
    """Write `output.json` and return the reference to the output."""
    (folder / OUTPUT).write_text(Output(privacy=privacy, shards=tuple(shards)).model_dump_json(), encoding="utf-8")
    own = [[n, s.privacy.model_dump()] for n, s in enumerate(shards) if s.privacy not in (None, privacy)]
    digest = digest_of([privacy.model_dump(), [s.digest for s in shards], *([own] if own else [])])
    return Rows(uri=uri, digest=digest, counts=total([s.counts for s in shards]), reasons=total_reasons(shards))


def total(counts: Iterable[RowCounts]) -> RowCounts:
    sums: Counter[str] = Counter(dict.fromkeys(RowCounts.model_fields, 0))
    for one in counts:
        sums.update(one.model_dump())
    return RowCounts(**sums)


def total_reasons(shards: Iterable[Shard]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for shard in shards:
        sums.update(shard.reasons)
    return dict(sorted(sums.items()))


def open_output(store: Store, uri: str) -> Output:
    return Output.model_validate_json((store.path(uri) / OUTPUT).read_text(encoding="utf-8"))


def all_rows(store: Store, uri: str) -> Iterator[Row]:
    """Every row of a stage output in canonical order, one by one."""
    for shard in open_output(store, uri).shards:
        yield from iter_rows(shard_path(store, shard))


def count_rows(rows: Sequence[Row]) -> RowCounts:
    outcomes = Counter(row.outcome for row in rows)
    return RowCounts(
        rows_in=len(rows),
        kept=outcomes["kept"],
        merged=outcomes["merged"],
        quarantined=outcomes["quarantined"],
        redacted=sum(bool(row.redactions) for row in rows),
    )


def count_reasons(rows: Iterable[Row]) -> dict[str, int]:
    """Reason code → rows; the code is what stands before the colon of `Row.reason`."""
    return dict(sorted(Counter(reason_code(row) for row in rows if row.outcome != "kept").items()))


def reason_code(row: Row) -> str:
    return row.reason.split(":", 1)[0]


def quarantined(row: Row, code: str, words: str, repair: str = "") -> Row:
    changes: dict[str, Any] = {"outcome": "quarantined", "reason": f"{code}: {words}", "repair": repair}
    return row.model_copy(update=changes)


def merged(row: Row, into: str, code: str, words: str) -> Row:
    """The row as merged; `into` is the row_id of the row it yields to."""
    return row.model_copy(update={"outcome": "merged", "reason": f"{code}: {words}", "yields_to": into})
