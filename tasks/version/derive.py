"""Versions that are made from the rows of versions that exist: rows taken out, put in, mixed."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from uuid import uuid4

from tasks.adapters.row_files import SHARD_ROWS, Shard, iter_rows, write_shard
from tasks.adapters.store import Store
from tasks.contracts import DatasetVersion, Digest, Row
from tasks.errors import UsageError
from tasks.version.catalog import find
from tasks.version.config import SplitConfig
from tasks.version.content import ALL, Header, read_manifest
from tasks.version.stage import build, versions_claim


def derive(
    store: Store,
    project: str,
    name: str,
    rows: Iterable[Row],
    *,
    policy: Digest,
    tokenizer: Digest,
    parents: Mapping[str, str] | None = None,
    derived_from: str = "",
    warnings: Iterable[str] = (),
    group_by: str = "",
    split: SplitConfig | None = None,
) -> DatasetVersion:
    """The next version of a dataset with these rows; an equal one is found.

    A row keeps the split it has. What any version of the project holds out is held out here too, and reported. With
    `split`, training rows that are copies of held-out ones are merged as in `make_version`.

    Raises:
        DataRefused: one of the two splits would be empty.
    """
    header = Header(
        project=project, name=name, policy=policy, tokenizer=tokenizer, parents=dict(parents or {}),
        derived_from=derived_from, warnings=tuple(warnings), group_by=group_by,
    )  # fmt: skip
    rules = (split or SplitConfig()).model_copy(update={"name": name, "group_by": group_by or None})
    folder = store.root / "work" / "derived" / uuid4().hex
    try:
        shards = list(_shards(folder, rows))
        paths = [folder / shard.file for shard in shards]
        with versions_claim(store, project):
            return build(paths, header, rules, store, inputs=[s.digest for s in shards], check=split is not None)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _shards(folder: Path, rows: Iterable[Row]) -> Iterator[Shard]:
    left, number = iter(rows), 0
    while True:
        shard = write_shard(folder, "", f"{number:06d}.jsonl", islice(left, SHARD_ROWS))
        if not shard.rows and number:
            return
        yield shard
        number += 1


def without_rows(address: str, row_ids: Collection[str], reason: str, store: Store) -> DatasetVersion:
    """The next version of the same dataset without some rows, whatever had become of them.

    Raises:
        UsageError: no such version, or it has none of the rows.
        DataRefused: one of the two splits would be empty.
    """
    entry = find(address)
    folder = store.path(entry.uri)
    manifest = read_manifest(folder)
    gone = frozenset(row_ids)
    count = sum(row.row_id in gone for row in iter_rows(folder / ALL))
    if not count:
        raise UsageError("the version has none of these rows", where=entry.address)
    return derive(
        store, entry.project, entry.name, (row for row in iter_rows(folder / ALL) if row.row_id not in gone),
        policy=manifest.policy, tokenizer=manifest.tokenizer, parents=manifest.parents, warnings=manifest.warnings,
        derived_from=f"{entry.address} without {count} rows: {reason}", group_by=manifest.group_by,
    )  # fmt: skip
