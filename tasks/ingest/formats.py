"""Which format a file has: by its name, checked against its first bytes."""

from __future__ import annotations

from tasks.errors import DataRefused

_EXTENSIONS = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "csv", ".tab": "csv",
    ".parquet": "parquet", ".pq": "parquet", ".txt": "txt", ".text": "txt", ".md": "markdown", ".markdown": "markdown",
    ".html": "html", ".htm": "html", ".xhtml": "html", ".pdf": "pdf", ".docx": "docx",
    ".gz": "gz", ".tgz": "gz", ".bz2": "bz2", ".tbz2": "bz2", ".tbz": "bz2", ".xz": "xz", ".txz": "xz",
    ".zip": "zip", ".tar": "tar",
}  # fmt: skip
FORMATS = tuple(_EXTENSIONS)
PACKED = ("gz", "bz2", "xz", "zip", "tar")
DOCUMENTS = ("txt", "markdown", "html", "pdf", "docx")
_MAGIC = (
    (b"%PDF", "PDF"), (b"PK\x03\x04", "ZIP"), (b"PK\x05\x06", "ZIP"), (b"\x1f\x8b", "gzip"), (b"PAR1", "Parquet"),
    (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"), (b"\x28\xb5\x2f\xfd", "Zstandard"), (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"Rar!\x1a\x07", "RAR"), (b"\xd0\xcf\x11\xe0", "old Microsoft Office"), (b"\x89PNG", "PNG image"),
    (b"\xff\xd8\xff", "JPEG image"), (b"SQLite format 3", "SQLite"), (b"\x7fELF", "program"),
)  # fmt: skip
_EXPECTED = {
    "parquet": ("Parquet",), "pdf": ("PDF",), "docx": ("ZIP",), "zip": ("ZIP",), "gz": ("gzip",), "bz2": ("bzip2",),
    "xz": ("xz",),
}  # fmt: skip
HEAD_BYTES = 1024


def extension_of(name: str) -> str:
    """The last extension of a path in lower case, with its dot; empty where there is none."""
    base = name.replace("\\", "/").rpartition("/")[2]
    stem, dot, last = base.rpartition(".")
    return f".{last.lower()}" if dot and stem else ""


def format_of(name: str, head: bytes) -> str | None:
    """Format of a file by its name; None where the extension is none of ours.

    Args:
        head: its first `HEAD_BYTES` bytes, or fewer where the file is shorter; empty: the name alone decides.

    Raises:
        DataRefused: the bytes are plainly of another format than the name says.
    """
    found = _EXTENSIONS.get(extension_of(name))
    if found is None or not head:
        return found
    held = _held(head)
    expected = _EXPECTED.get(found, ())
    if held in expected or (not held and not expected) or (found == "pdf" and b"%PDF-" in head):
        return found
    raise DataRefused(
        f"the file is not what its name says: it ends in {extension_of(name)}, but {_words(found, held)}",
        where=name,
        why=f"its first bytes are those of {held}" if held else f"its first bytes are not those of {found}",
        remedy="rename it if only the name is wrong, or export it again",
    )


def _held(head: bytes) -> str:
    if head.startswith(b"BZh"):  # a text may begin with these letters; the block size and magic follow in bzip2
        return "bzip2" if head[4:10] in (b"1AY&SY", b"\x17rE8P\x90", b"") else ""
    return next((name for magic, name in _MAGIC if head.startswith(magic)), "")


def _words(found: str, held: str) -> str:
    return f"holds {held}" if held else f"does not hold {found}"
