"""Reader of Parquet: one part a row group, rows in small batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tasks.errors import DataRefused, UsageError
from tasks.ingest.records import NOT_UTF8, Part, Problem, RawRecord, ReadLimits, too_large

_BATCH_ROWS, _FEW_ROWS = 256, 16
_BATCH_BYTES = 16 << 20
_MAX_RATIO, _FREE_BYTES = 200, 64 << 20
_MOST_SHOWN = 4096
# A text that is not UTF-8 and an unknown time zone are among the last two.
_UNREADABLE = (OverflowError, ValueError, LookupError)
_STRINGS, _CONTAINERS = 16 << 20, 1 << 20  # most that the file's own description may hold


def parquet_parts(path: Path, where: str) -> list[Part]:
    """One part a row group.

    Raises:
        DataRefused: no Parquet file, or one whose end is missing, or without rows.
        UsageError: a column name that occurs twice.
    """
    import pyarrow

    try:
        file = _opened(path)
        names, metadata = file.schema_arrow.names, file.metadata
        counts = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataRefused(
            "the file is not a Parquet file that can be read",
            where=where,
            why="it is cut off or damaged" if path.stat().st_size else "it holds no bytes",
            remedy="export the data again",
        ) from error
    if len(set(names)) < len(names):
        raise UsageError(
            "two columns of the table have the same name",
            where=where,
            why=f"{len(names)} columns",
            remedy="give each column a name of its own",
        )
    if not sum(counts):
        raise DataRefused(
            "the table has no rows", where=where, remedy="give a file with rows, or take it out of data.sources"
        )
    firsts = [sum(counts[:i]) for i in range(len(counts))]
    return [
        Part(layout="row_group", byte_end=path.stat().st_size, first_index=first, row_group=number)
        for number, (first, count) in enumerate(zip(firsts, counts, strict=True))
        if count
    ]


def _opened(path: Path, dictionaries: Sequence[str] = ()) -> Any:
    from pyarrow.parquet import ParquetFile

    return ParquetFile(
        path,
        read_dictionary=list(dictionaries),
        memory_map=False,
        buffer_size=1 << 20,
        pre_buffer=False,
        thrift_string_size_limit=_STRINGS,
        thrift_container_size_limit=_CONTAINERS,
        page_checksum_verification=True,
    )


def read_row_group(path: Path, part: Part, limits: ReadLimits) -> Iterator[RawRecord]:
    """Rows of one group; where they cannot be decoded any more, one record says so for the rest of the group."""
    import pyarrow

    index, count = part.first_index, 0
    try:
        group = _opened(path).metadata.row_group(part.row_group)
        columns = [group.column(i) for i in range(group.num_columns)]
        count = group.num_rows
        if any(_is_bomb(column, count) for column in columns):
            words = f"row group {part.row_group} unpacks to more than {_MAX_RATIO} times its size"
            yield RawRecord(index, 0, 1, "", None, ("bomb", words), 0, "export the data again")
            return
        # Values of a dictionary are kept apart until rows are made of them: a small file can repeat a long one.
        file = _opened(
            path, [c.path_in_schema for c in columns if c.physical_type == "BYTE_ARRAY" and c.has_dictionary_page]
        )
        size = _FEW_ROWS if any("DELTA_BYTE_ARRAY" in c.encodings for c in columns) else _BATCH_ROWS
        for batch in file.iter_batches(batch_size=size, row_groups=[part.row_group], use_threads=False):
            for record in _records(batch, index, limits):
                yield record
                index += 1
    except (pyarrow.ArrowException, OSError, MemoryError, *_UNREADABLE):
        rest = part.first_index + count - index
        words = f"row group {part.row_group} is damaged; {rest} rows from here on cannot be decoded"
        yield RawRecord(index, 0, 1, "", None, ("damaged", words), 0, "export the data again")


def _is_bomb(column: Any, rows: int) -> bool:
    """Whether a column's pages, or its lists of numbers, are far larger than what they are stored in."""
    numbers = 8 * column.num_values if column.num_values > rows else 0
    return bool(max(column.total_uncompressed_size, numbers) > _FREE_BYTES + _MAX_RATIO * column.total_compressed_size)


def _records(batch: Any, index: int, limits: ReadLimits) -> Iterator[RawRecord]:
    """Rows of a batch; one by one where they are large."""
    if _weight(batch) <= _BATCH_BYTES:
        yield from (_record(row, index + i, limits) for i, row in enumerate(_rows(batch)))
        return
    for start in range(batch.num_rows):
        single = batch.slice(start, 1)
        if _weight(single) > limits.record_bytes:
            yield RawRecord(index + start, 0, 1, "", None, too_large(limits.record_bytes))
        else:
            yield _record(_row(single), index + start, limits)


def _weight(batch: Any) -> int:
    """Bytes of the rows when they are plain Python values, at most."""
    return sum(_array_weight(column) for column in batch.columns)


def _array_weight(array: Any) -> int:
    import pyarrow
    import pyarrow.compute as pc

    kind = array.type
    if pyarrow.types.is_dictionary(kind):
        longest = pc.max(pc.binary_length(array.dictionary)).as_py() if len(array.dictionary) else 0
        return len(array) * (longest or 0)
    if pyarrow.types.is_struct(kind):
        return sum(_array_weight(child) for child in array.flatten())
    if pyarrow.types.is_map(kind):
        return _array_weight(array.keys) + _array_weight(array.items)
    if pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind):
        return _array_weight(array.flatten())
    return int(array.nbytes)


class _Unreadable(NamedTuple):
    """What stands in the place of a row that Python cannot hold."""

    problem: Problem
    repair: str


_NO_TEXT = _Unreadable(NOT_UTF8, "export the table with its texts in UTF-8")
_NO_VALUE = _Unreadable(
    ("unreadable_value", "holds a date or a time outside the years 1 to 9999, or in an unknown time zone"),
    "export the table with such values as text, or empty where they stand for no value",
)


def _rows(batch: Any) -> list[dict[str, Any] | _Unreadable]:
    """The rows of a batch; one by one where one of them cannot be read, so that it costs no other one."""
    try:
        return list(batch.to_pylist())
    except _UNREADABLE:
        return [_row(batch.slice(i, 1)) for i in range(batch.num_rows)]


def _row(single: Any) -> dict[str, Any] | _Unreadable:
    """The one row of a batch."""
    try:
        (row,) = single.to_pylist()
    except UnicodeDecodeError:
        return _NO_TEXT
    except _UNREADABLE:
        return _NO_VALUE
    return dict(row)


def _record(row: Mapping[str, Any] | _Unreadable, index: int, limits: ReadLimits) -> RawRecord:
    if isinstance(row, _Unreadable):
        return RawRecord(index, 0, 1, "", None, row.problem, 0, row.repair)
    value = {name: plain(item) for name, item in row.items()}
    raw = shown(value)
    problem: Problem | None = too_large(limits.record_bytes) if len(raw) > limits.record_bytes else None
    return RawRecord(index, 0, 1, raw[:_MOST_SHOWN] if problem else raw, None if problem else value, problem)


def plain(value: Any) -> object:
    """A value as JSON has them; bytes that are text become text, others stay bytes and are no text of a row."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def shown(value: object) -> str:
    """A record that has no text of its own, as JSON."""
    import orjson

    try:
        return orjson.dumps(value, default=lambda item: f"<{type(item).__name__}>").decode()
    except (orjson.JSONEncodeError, RecursionError):
        return ""
