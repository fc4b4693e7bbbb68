"""The stage as a whole: membership, leak check, the version's folder in the store, its number in the database."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.adapters import ledger
from tasks.adapters.claim import claim
from tasks.adapters.row_files import read_output, read_rows
from tasks.adapters.store import Store, stage_key
from tasks.contracts import DatasetVersion, Digest, Record, Row, ValidatedRows
from tasks.digest import digest_of
from tasks.version.config import SplitConfig
from tasks.version.content import ALL, Manifest, read_manifest, write_version
from tasks.version.split import Membership, assign, entities, merge_leaks, permute_answers, refuse_empty

REVISION = 1


class Written(Record):
    """What the store keeps of a version; its number is given by the database."""

    manifest_digest: Digest


def make_version(
    validated: ValidatedRows, project: str, split: SplitConfig, policy: Digest, tokenizer: Digest, store: Store
) -> DatasetVersion:
    """The dataset version of these rows: made, or found where an equal one exists.

    Versioners of one project go one after the other. One that was killed between store and database finds its folder
    in the store and gives it its number.

    Raises:
        DataRefused: one of the two splits would be empty.
        UsageError: no row has the metadata that `group_by` names.
    """
    with claim(store.root / "locks" / f"versions-{project}.lock", f"dataset versions of {project}"):
        rows, _ = read_output(store.path(validated.rows.uri))
        kept = [row for row in rows if row.outcome == "kept"]
        known = ledger.held_out(project, [e for row in kept for e in entities(row, split.group_by)])
        membership = assign(kept, split, known)
        policy_digest = digest_of([policy, split.model_dump(exclude={"name"})])
        changed = _changed_by_ledger(membership, assign(kept, split, set()))
        key = stage_key(REVISION, validated.rows.digest, project, split, policy, tokenizer, changed)

        def make(folder: Path) -> Written:
            warnings = (*validated.warnings, *membership.deviations)
            final = split_rows(rows, membership, split)
            manifest = write_version(folder, final, project=project, name=split.name, policy=policy_digest,
                                     tokenizer=tokenizer, warnings=warnings)  # fmt: skip
            return Written(manifest_digest=digest_of(manifest))

        written = store.produce("version", key, Written, make)
        return register(store, store.uri("version", key), written.manifest_digest, split.group_by)


def _changed_by_ledger(actual: Membership, plain: Membership) -> list[str]:
    """Rows that the ledger moves: the only part of it that belongs to the key."""
    return sorted(i for i, s in actual.splits.items() if plain.splits[i] != s)


def split_rows(rows: Sequence[Row], membership: Membership, config: SplitConfig) -> list[Row]:
    """All rows with their split; leaks merged, answers permuted where that was asked for.

    Raises:
        DataRefused: one of the two splits is empty.
    """
    checked = merge_leaks(rows, membership.splits, config.leak_threshold)
    final = [
        row.model_copy(update={"split": membership.splits[row.row_id]}) if row.outcome == "kept" else row
        for row in checked
    ]
    train = [row for row in final if row.split == "train"]
    refuse_empty(len(train), sum(row.split == "test" for row in final))
    if config.permute_answers_seed is None:
        return final
    permuted = {row.row_id: row for row in permute_answers(train, config.permute_answers_seed)}
    return [permuted.get(row.row_id, row) for row in final]


def register(store: Store, uri: str, manifest_digest: Digest, group_by: str | None) -> DatasetVersion:
    """Give a written version its number and put what it holds out into the ledger; repeating changes nothing."""
    folder = store.path(uri)
    manifest = read_manifest(folder)
    held = [row for row in read_rows(folder / ALL) if row.split == "test"]
    entry, new = ledger.record_version(
        manifest.project,
        manifest.name,
        digest=manifest.identity,
        policy_digest=manifest.policy,
        manifest_digest=manifest_digest,
        uri=uri,
        entities={e for row in held for e in entities(row, group_by)},
    )
    return describe(entry, manifest, new=new)


def describe(entry: ledger.VersionEntry, manifest: Manifest, *, new: bool) -> DatasetVersion:
    """The record of a version that other stages get."""
    return DatasetVersion(
        address=entry.address, version=entry.version, digest=entry.digest, uri=entry.uri,
        manifest_digest=entry.manifest_digest, counts=manifest.counts, reasons=manifest.reasons,
        train_rows=manifest.train_rows, test_rows=manifest.test_rows, tokenizer_digest=manifest.tokenizer, new=new,
        warnings=manifest.warnings,
    )  # fmt: skip
