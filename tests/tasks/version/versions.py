"""Versions for tests: rows with a given split, written and numbered as the stage does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.adapters import ledger
from tasks.adapters.ledger import VersionEntry
from tasks.adapters.store import Store, stage_key
from tasks.contracts import Digest, Record, Row, Split
from tasks.digest import digest_of
from tasks.version.content import Header, finish_version, read_manifest, write_part
from tasks.version.split import entities
from tests.tasks.data_rows import make_row


class Written(Record):
    """As the stage keeps it."""

    manifest_digest: Digest


def versioned(
    rows: list[Row], project: str = "proj", name: str = "main", policy: str = "p", group_by: str = ""
) -> VersionEntry:
    """A version of exactly these rows in the store of this home; kept rows need a split."""
    store = Store.open()
    header = Header(project=project, name=name, policy=policy, tokenizer="t", group_by=group_by)
    key = stage_key(1, header, [row.model_dump() for row in rows])

    def make(folder: Path) -> Written:
        return Written(manifest_digest=digest_of(finish_version(folder, 1, write_part(folder, 0, rows), header)))

    written = store.produce("version", key, Written, make)
    uri = store.uri("version", key)
    manifest = read_manifest(store.path(uri))
    held = {entity for row in rows if row.split == "test" for entity in entities(row, group_by or None)}
    entry, _ = ledger.record_version(project, name, digest=manifest.identity, policy_digest=policy,
                                     manifest_digest=written.manifest_digest, uri=uri, entities=held)  # fmt: skip
    return entry


def prompt(number: int) -> str:
    """A question that shares few words with any other."""
    return " ".join(digest_of([number, k])[:7] for k in range(8))


def some_rows(count: int, first: int = 0, *, source: str = "ab", test_every: int = 5, **changes: Any) -> list[Row]:
    """Kept rows of one source; every fifth is held out."""
    return [some_row(n, prompt(n), source=source, split="test" if n % test_every == 0 else "train", **changes)
            for n in range(first, first + count)]  # fmt: skip


def some_row(
    index: int, question: str, answer: str = "yes", *, source: str = "ab", split: Split = "train", **changes: Any
) -> Row:
    """A kept row of a source whose digest begins with `source`."""
    row = make_row(index, question, answer)
    digest = (source * 64)[:64]
    origin = row.origin.model_copy(update={"source_digest": digest, "source_uri": f"data/{source}.jsonl"})
    return row.model_copy(update={"row_id": f"{digest[:16]}:{index:06d}", "origin": origin, "split": split, **changes})
