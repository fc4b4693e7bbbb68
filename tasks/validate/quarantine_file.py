"""`quarantine.parquet`: one line for each row in quarantine, whatever stage put it there. Redacted text only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from tasks.adapters.row_files import reason_code
from tasks.contracts import Record, Row

QUARANTINE = "quarantine.parquet"
_TEXT_CHARS = 4_000


class QuarantinedRow(Record):
    """One line of the file."""

    row_id: str
    source_uri: str
    member: str
    record_index: int
    byte_offset: int
    line: int
    shape: str
    code: str = Field(description="Rule that the row breaks.")
    reason: str
    repair: str = Field(description="Proposed repair.")
    quality: int | None = Field(description="Score; None where the row was never measured.")
    text: str = Field(description="The row's messages or the excerpt of its record, redacted, cut at 4,000 characters.")


def line_of(row: Row) -> QuarantinedRow:
    origin = row.origin
    text = "\n".join(f"{m.role}: {m.content}" for m in row.messages) or row.raw_excerpt
    return QuarantinedRow(
        row_id=row.row_id, source_uri=origin.source_uri, member=origin.member, record_index=origin.record_index,
        byte_offset=origin.byte_offset, line=origin.line, shape=row.shape, code=reason_code(row),
        reason=row.reason.split(": ", 1)[-1], repair=row.repair, quality=row.quality, text=text[:_TEXT_CHARS],
    )  # fmt: skip


def write_part(path: Path, rows: Iterable[QuarantinedRow]) -> None:
    """The lines of one shard."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([row.model_dump() for row in rows], schema=_schema()), path)


def join_parts(parts: Iterable[Path], target: Path) -> None:
    """One file of all parts, in their order; memory does not grow with their number. The parts are deleted."""
    import pyarrow.parquet as pq

    with pq.ParquetWriter(target, _schema()) as writer:
        for part in parts:
            for batch in pq.ParquetFile(part).iter_batches():
                writer.write_batch(batch)
            part.unlink()


def read_quarantine(path: Path, row_id: str = "") -> Iterator[QuarantinedRow]:
    """Lines of the file one by one; only those of a row, if one is named."""
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(path).iter_batches():
        for line in batch.to_pylist():
            if not row_id or line["row_id"] == row_id:
                yield QuarantinedRow(**line)


def _schema() -> Any:
    import pyarrow as pa

    kinds = {"record_index": pa.int64(), "byte_offset": pa.int64(), "line": pa.int64(), "quality": pa.int8()}
    return pa.schema([(name, kinds.get(name, pa.string())) for name in QuarantinedRow.model_fields])
