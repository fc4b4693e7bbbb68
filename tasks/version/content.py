"""What a dataset version consists of: its identity, its manifest and its card. Pure but for writing the folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from tasks.adapters.row_files import count_reasons, count_rows, write_rows
from tasks.contracts import Digest, Record, Row, RowCounts
from tasks.digest import canonical_json, digest_file, digest_of
from tasks.similarity.keys import prompt_text
from tasks.similarity.profile import profile
from tasks.version.card import card

SCHEMA = 1
TRAIN, TEST, ALL, PROFILE, CARD, MANIFEST = (
    "train.jsonl", "test.jsonl", "rows.jsonl", "profile.json", "card.md", "manifest.json",
)  # fmt: skip


class Manifest(Record):
    """What is in a version's folder. Its digest, together with the identity, is what makes a version new or known."""

    schema_revision: int = SCHEMA
    project: str
    name: str
    identity: Digest = Field(description="Over sorted digests of the rows, schema and membership; not over files.")
    policy: Digest = Field(description="Over row schema, privacy, process, checks and split rules.")
    tokenizer: Digest
    files: dict[str, Digest] = Field(description="File name → SHA-256.")
    counts: RowCounts
    reasons: dict[str, int]
    train_rows: int
    test_rows: int
    sources: dict[str, int] = Field(description="SHA-256 of a source file → rows that came from it.")
    warnings: tuple[str, ...] = ()
    restores: str = Field("", description="Address of the version whose rows a rollback brought back.")


def identity(rows: Sequence[Row]) -> Digest:
    """Digest of what can be learned and proven from the kept rows; order, files, paths and metadata do not count."""
    digests = sorted(digest_of([row.split, [m.model_dump() for m in row.messages]]) for row in rows)
    return digest_of([SCHEMA, digests])


def write_version(
    folder: Path,
    rows: Sequence[Row],
    *,
    project: str,
    name: str,
    policy: Digest,
    tokenizer: Digest,
    warnings: tuple[str, ...],
) -> Manifest:
    """Write all files of a version; the manifest last."""
    train, test = [r for r in rows if r.split == "train"], [r for r in rows if r.split == "test"]
    write_rows(folder / TRAIN, train)
    write_rows(folder / TEST, test)
    write_rows(folder / ALL, rows)
    numbers = profile([prompt_text(r.prompt) for r in train], [r.answer for r in train])
    (folder / PROFILE).write_text(canonical_json(numbers), encoding="utf-8")
    text = card(rows, project, name, numbers, warnings)
    (folder / CARD).write_text(text, encoding="utf-8")
    manifest = Manifest(
        project=project,
        name=name,
        identity=identity([*train, *test]),
        policy=policy,
        tokenizer=tokenizer,
        files={file: digest_file(folder / file) for file in (TRAIN, TEST, ALL, PROFILE, CARD)},
        counts=count_rows(rows),
        reasons=count_reasons(rows),
        train_rows=len(train),
        test_rows=len(test),
        sources=_sources(rows),
        warnings=warnings,
    )
    write_manifest(folder, manifest)
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    (folder / MANIFEST).write_text(json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n")


def read_manifest(folder: Path) -> Manifest:
    return Manifest.model_validate_json((folder / MANIFEST).read_text(encoding="utf-8"))


def _sources(rows: Sequence[Row]) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows:
        found[row.origin.source_digest] = found.get(row.origin.source_digest, 0) + 1
    return dict(sorted(found.items()))
