"""The text of a Word document as Markdown, through python-docx."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.ingest.extract_result import Extracted, joined

_MAX_UNPACKED = 96 << 20  # python-docx holds all parts in memory, pictures too
_MAX_XML = 24 << 20  # the tree of an XML part takes about ten times its size
_MAX_RATIO = 200
_MAX_PARTS = 5_000
_AGAIN = "open it in Word or LibreOffice and save it again"


def text_of_docx(path: Path, max_bytes: int) -> Extracted:
    """Headings, paragraphs, lists, quotes and tables in their order."""
    import docx
    from docx.opc.exceptions import OpcError

    refused = _refused(path)
    if refused is not None:
        return refused
    try:
        document = docx.Document(str(path))
        made = joined(_blocks(document), "\n\n", max_bytes)
    except (OpcError, KeyError, ValueError, zipfile.BadZipFile, OSError, AttributeError, RecursionError, SyntaxError):
        return Extracted(code="damaged", words="is no Word document that can be opened", repair=_AGAIN)
    if not made.code and not made.text.strip():
        return Extracted(code="no_text", words="holds no text", repair="take it out of the sources")
    return made


def _refused(path: Path) -> Extracted | None:
    """What its directory says against opening the file; the sizes named there are what is unpacked at most."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, EOFError):
        with path.open("rb") as stream:
            old = stream.read(4) == b"\xd0\xcf\x11\xe0"
        code, words = (
            ("encrypted", "is protected by a password") if old else ("damaged", "is cut off or no Word document")
        )
        return Extracted(code=code, words=words, repair=_AGAIN)
    if any(part.flag_bits & 1 for part in parts):
        return Extracted(code="encrypted", words="is protected by a password", repair="save it without a password")
    total, packed = sum(p.file_size for p in parts), sum(p.compress_size for p in parts)
    largest = max((p.file_size for p in parts if p.filename.endswith((".xml", ".rels"))), default=0)
    if len(parts) > _MAX_PARTS or total > max(_MAX_RATIO * packed, 1 << 20):
        return Extracted(code="bomb", words="unpacks to far more than its size", repair=_AGAIN)
    if total > _MAX_UNPACKED or largest > _MAX_XML:
        return Extracted(
            code="too_large", words="is too large to be opened", repair="split it, or save it without pictures"
        )
    return None


def _blocks(document: Any) -> Iterator[str]:
    for block in document.iter_inner_content():
        text = _paragraph(block) if hasattr(block, "text") else _table(block)
        if text:
            yield text


def _paragraph(paragraph: Any) -> str:
    text = paragraph.text.strip()
    style = (paragraph.style.name or "") if paragraph.style is not None else ""
    if not text:
        return ""
    if style == "Title":
        return f"# {text}"
    if style.startswith("Heading ") and style[8:].isdigit():
        return f"{'#' * min(int(style[8:]), 6)} {text}"
    if "Quote" in style:
        return "\n".join(f"> {line}" for line in text.splitlines())
    return f"- {text}" if style.startswith("List") else str(text)


def _table(table: Any) -> str:
    rows = ["| " + " | ".join(" ".join(cell.text.split()) for cell in row.cells) + " |" for row in table.rows]
    if rows:
        rows.insert(1, "|" + " --- |" * len(table.columns))
    return "\n".join(rows)
