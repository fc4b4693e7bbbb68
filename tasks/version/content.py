"""What a dataset version consists of: its identity, its files and its manifest.

Rows are written in parts, one for each shard and by any number of workers; the parts are then put together in
canonical order, so that the bytes depend on nothing but the rows.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import Field

from tasks.adapters.row_files import row_line
from tasks.adapters.store import MARKER
from tasks.contracts import Digest, Message, Record, Row, RowCounts
from tasks.digest import canonical_json, digest_bytes, digest_file
from tasks.similarity.keys import prompt_text
from tasks.similarity.profile import Profiling
from tasks.version.card import CARD, IMAGE, write_card
from tasks.version.distributions import Counting

SCHEMA = 1
TRAIN, TEST, ALL, PROFILE, MANIFEST = "train.jsonl", "test.jsonl", "rows.jsonl", "profile.json", "manifest.json"
PARTS = "parts"
_DIGEST_BYTES = 32
_HASHED_AT_ONCE = 4096
__all__ = ["ALL", "CARD", "IMAGE", "MANIFEST", "PROFILE", "TEST", "TRAIN"]


class Header(Record):
    """What a manifest says that does not follow from the rows."""

    project: str
    name: str
    policy: Digest = Field(description="Over row schema, privacy, process, checks and split rules.")
    tokenizer: Digest
    group_by: str = Field("", description="Metadata key whose groups were held out as a whole.")
    warnings: tuple[str, ...] = ()
    restores: str = Field("", description="Address of the version whose rows a rollback brought back.")
    derived_from: str = Field("", description="What was done to which version to make this one, in words.")
    parents: dict[str, str] = Field(
        default_factory=dict, description="Address of each version whose rows are in this one → what was taken."
    )


class Manifest(Header):
    """What is in a version's folder. Its digest, together with the identity, is what makes a version new or known."""

    schema_revision: int = SCHEMA
    identity: Digest = Field(description="Over sorted digests of the rows, schema and membership; not over files.")
    files: dict[str, Digest] = Field(description="File name → SHA-256, of every file but this one and the marker.")
    counts: RowCounts
    reasons: dict[str, int]
    train_rows: int
    test_rows: int
    sources: dict[str, int] = Field(description="SHA-256 of a source file → rows that came from it.")


@dataclass
class Tally:
    """What was written, counted; parts are added up in the order of their shards."""

    counting: Counting = field(default_factory=Counting)
    profiling: Profiling = field(default_factory=Profiling)
    digests: bytearray = field(default_factory=bytearray)
    sources: Counter[str] = field(default_factory=Counter)

    def add(self, row: Row) -> None:
        self.counting.add(row)
        self.sources[row.origin.source_digest] += 1
        if row.outcome == "kept":
            self.digests += identity_digest(row)
        if row.split == "train" and row.outcome == "kept":
            self.profiling.add(prompt_text(row.prompt), row.answer)

    def merge(self, other: Tally) -> None:
        self.counting.merge(other.counting)
        self.profiling.merge(other.profiling)
        self.digests += other.digests
        self.sources.update(other.sources)


def canonical_row(row: Row) -> bytes:
    """What can be learned from a row; fields that most rows lack only count where they are there."""
    messages = [_plain(message) for message in row.messages]
    extra = {name: value for name in ("rejected", "tools") if (value := getattr(row, name))}
    return canonical_json([*messages, extra] if extra else messages).encode("utf-8", "surrogatepass")


def _plain(message: Message) -> dict[str, Any]:
    """A turn without what is the default; most turns are a role and a text."""
    if message.tool_calls or message.tool_call_id or message.name:
        return message.model_dump(exclude_defaults=True)
    return {"role": message.role, "content": message.content}


def row_digest(row: Row) -> Digest:
    """Digest of a row's content: messages, rejected answer, tools; not its split, paths or metadata."""
    return digest_bytes(canonical_row(row))


def identity_digest(row: Row) -> bytes:
    """What a kept row adds to the identity of its version: its content and its split."""
    return sha256(b"[%b,%b]" % (canonical_json(row.split).encode(), canonical_row(row))).digest()


def identity_of(digests: Iterable[bytes | bytearray]) -> Digest:
    """Digest of what can be learned and proven from the kept rows; order, files, paths and metadata do not count.

    Equal to `digest_of([SCHEMA, sorted(hexadecimal digests)])`; memory holds 32 bytes a row.
    """
    import numpy as np

    words = np.frombuffer(b"".join(digests), dtype=">u8").reshape(-1, _DIGEST_BYTES // 8)
    ordered = words[np.lexsort(words.T[::-1])]
    sha = sha256(f"[{SCHEMA},[".encode())
    for start in range(0, len(ordered), _HASHED_AT_ONCE):
        texts = (row.tobytes().hex() for row in ordered[start : start + _HASHED_AT_ONCE])
        sha.update((("," if start else "") + ",".join(f'"{text}"' for text in texts)).encode())
    sha.update(b"]]")
    return sha.hexdigest()


def write_part(folder: Path, number: int, rows: Iterable[Row]) -> Tally:
    """Write the rows of one shard to the three files of its part."""
    made = Tally()
    parts = folder / PARTS
    parts.mkdir(parents=True, exist_ok=True)
    with (
        (parts / f"{number:06d}.{ALL}").open("wb") as every,
        (parts / f"{number:06d}.{TRAIN}").open("wb") as train,
        (parts / f"{number:06d}.{TEST}").open("wb") as test,
    ):
        for row in rows:
            line = row_line(row)
            every.write(line)
            if row.outcome == "kept":
                (test if row.split == "test" else train).write(line)
            made.add(row)
    return made


def finish_version(folder: Path, parts: int, made: Tally, header: Header) -> Manifest:
    """Put the parts together and write what is said about them; the manifest last."""
    for file in (TRAIN, TEST, ALL):
        _put_together(folder, parts, file)
    (folder / PARTS).rmdir()
    numbers, profile = made.counting.result(), made.profiling.result()
    (folder / PROFILE).write_text(canonical_json(profile), encoding="utf-8")
    write_card(folder, f"ds://{header.project}/{header.name}", numbers, profile, header.warnings, header.parents)
    manifest = Manifest(
        **header.model_dump(),
        identity=identity_of([made.digests]),
        files=file_digests(folder),
        counts=numbers.counts,
        reasons=numbers.reasons,
        train_rows=numbers.splits["train"],
        test_rows=numbers.splits["test"],
        sources=dict(sorted(made.sources.items())),
    )
    write_manifest(folder, manifest)
    return manifest


def _put_together(folder: Path, parts: int, file: str) -> None:
    with (folder / file).open("wb") as whole:
        for number in range(parts):
            part = folder / PARTS / f"{number:06d}.{file}"
            with part.open("rb") as stream:
                shutil.copyfileobj(stream, whole, 1 << 20)
            part.unlink()


def file_digests(folder: Path) -> dict[str, Digest]:
    """SHA-256 of every file of a version but the manifest and the marker, which covers the manifest."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in (MANIFEST, MARKER))
    return {path.relative_to(folder).as_posix(): digest_file(path) for path in files}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    (folder / MANIFEST).write_text(json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n")


def read_manifest(folder: Path) -> Manifest:
    return Manifest.model_validate_json((folder / MANIFEST).read_text(encoding="utf-8"))
