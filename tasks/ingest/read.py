"""Reading of documents as a stream: where a document is cut into parts, and the records of a part.

Parts depend on the bytes alone, a part can be read by any process, and memory does not grow with the document.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tasks.errors import UsageError
from tasks.ingest.config import Shape
from tasks.ingest.document import read_document, read_sections, sections_part
from tasks.ingest.formats import DOCUMENTS
from tasks.ingest.read_json import is_array, json_parts, read_broken, read_elements, read_whole
from tasks.ingest.read_jsonl import line_parts, read_lines
from tasks.ingest.read_table import read_table, table_parts
from tasks.ingest.records import LIMITS, Part, RawRecord, ReadLimits
from tasks.ingest.text import Encoding, encoding_of


def parts(path: Path, format: str, where: str = "", shape: Shape = "auto", limits: ReadLimits = LIMITS) -> list[Part]:
    """The parts of a document in order; together they hold every record once.

    Args:
        format: one that `format_of` returns, not a packed one.
        where: how the document is called in errors.
        shape: what is configured; it decides how Markdown is read.

    Raises:
        DataRefused: empty, binary, or not of the format from its beginning on.
        UsageError: a shape that the format cannot have, or several lists of rows in one file.
    """
    where = where or path.name
    _check_shape(format, shape, where)
    if format == "parquet":
        from tasks.ingest.read_parquet import parquet_parts

        return parquet_parts(path, where)
    if format in ("html", "pdf", "docx"):
        from tasks.ingest.read_extracted import extracted_part

        return [extracted_part(path, format, where, shape, limits)]
    return _text_parts(path, format, where, shape, limits)


def _text_parts(path: Path, format: str, where: str, shape: Shape, limits: ReadLimits) -> list[Part]:
    encoding = encoding_of(path, where)
    if format == "jsonl":
        return _jsonl_parts(path, encoding, where, limits)
    if format == "json":
        return json_parts(path, encoding, where, limits)
    if format == "csv":
        return table_parts(path, encoding, where, limits)
    return [sections_part(path, encoding, "document" if format == "txt" else shape, limits)]


def _jsonl_parts(path: Path, encoding: Encoding, where: str, limits: ReadLimits) -> list[Part]:
    with path.open("rb") as stream:
        array = is_array(stream, encoding, limits)
    if array:
        return json_parts(path, encoding, where, limits)
    return line_parts(path, encoding.name, encoding.bom_bytes, limits)


def _check_shape(format: str, shape: Shape, where: str) -> None:
    if format in DOCUMENTS and (shape not in ("auto", "sections", "document") or (format, shape) in _NO_SECTIONS):
        raise UsageError(
            f"a {format} file cannot have the shape {shape}",
            where=where,
            remedy="a Markdown file is sections or document, a text file is document",
        )
    if format not in DOCUMENTS and shape in ("sections", "document"):
        raise UsageError(
            f"the shape {shape} is for Markdown and text files", where=where, remedy="correct data.sources[].shape"
        )


_NO_SECTIONS = (("txt", "sections"), ("pdf", "sections"))


def read_records(path: Path, format: str, where: str, part: Part, limits: ReadLimits = LIMITS) -> Iterator[RawRecord]:
    """The records of one part, one by one; a record that cannot be read has a problem and costs no other one.

    Args: as for `parts`; `limits` have to be those that the part was made with.
    """
    if part.layout == "lines":
        return read_lines(path, part, limits)
    if part.layout == "elements":
        return read_elements(path, part, limits)
    if part.layout == "table":
        return read_table(path, part, where, limits)
    if part.layout == "whole":
        return read_whole(path, part, limits)
    if part.layout == "broken":
        return read_broken(path, part)
    return _other_records(path, format, part, limits)


def _other_records(path: Path, format: str, part: Part, limits: ReadLimits) -> Iterator[RawRecord]:
    if part.layout == "row_group":
        from tasks.ingest.read_parquet import read_row_group

        return read_row_group(path, part, limits)
    if format in ("html", "pdf", "docx"):
        from tasks.ingest.read_extracted import read_extracted

        return read_extracted(path, format, part, limits)
    return read_sections(path, part, limits) if part.layout == "sections" else read_document(path, part, limits)
