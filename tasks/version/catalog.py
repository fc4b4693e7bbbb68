"""What can be done with dataset versions that exist: list, show, compare, verify, bring back, export."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from tasks.adapters import ledger
from tasks.adapters.claim import claim
from tasks.adapters.ledger import VersionEntry
from tasks.adapters.row_files import read_rows
from tasks.adapters.store import Store, stage_key
from tasks.contracts import DatasetVersion, Digest, Record, Row
from tasks.digest import digest_file, digest_of
from tasks.errors import UsageError
from tasks.version.content import ALL, CARD, MANIFEST, Manifest, read_manifest, write_manifest
from tasks.version.stage import Written, describe, register

_ADDRESS = re.compile(r"ds://(?P<project>[a-z0-9_-]+)/(?P<name>[a-z0-9_-]+)(?:@(?P<version>\d+\.\d+\.\d+|latest))?")


class Difference(Record):
    """What two versions differ in. Rows are compared by content; ids are those of the version that has the row."""

    old: str
    new: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    moved: tuple[str, ...]
    policy_changed: bool


def list_versions(project: str | None = None) -> list[VersionEntry]:
    """All versions, of one project or of all."""
    return ledger.entries(project)


def find(address: str) -> VersionEntry:
    """The version at an address; without a number, or with @latest, the highest one.

    Raises:
        UsageError: not an address, or no such version.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise UsageError("this is not the address of a dataset version", where=address,
                         remedy="write it as ds://project/name@1.2.0")  # fmt: skip
    known = ledger.entries(match["project"], match["name"])
    wanted = match["version"]
    found = [e for e in known if wanted in (None, "latest", e.version)]
    if not found:
        raise UsageError("there is no such dataset version", where=address,
                         why=f"known are {', '.join(e.version for e in known) or 'none'}",
                         remedy="see `tuneloop data list`")  # fmt: skip
    return found[-1]


def show(address: str, store: Store) -> tuple[DatasetVersion, str]:
    """A version's record and card."""
    entry = find(address)
    folder = store.path(entry.uri)
    return describe(entry, read_manifest(folder), new=False), (folder / CARD).read_text(encoding="utf-8")


def diff(old: str, new: str, store: Store) -> Difference:
    """Rows that were added, removed, or moved between training and test."""
    before, after = find(old), find(new)
    one, two = (_by_content(store, entry) for entry in (before, after))
    both = sorted(one.keys() & two.keys())
    return Difference(
        old=before.address, new=after.address,
        added=tuple(two[d].row_id for d in sorted(two.keys() - one.keys())),
        removed=tuple(one[d].row_id for d in sorted(one.keys() - two.keys())),
        moved=tuple(two[d].row_id for d in both if one[d].split != two[d].split),
        policy_changed=before.policy_digest != after.policy_digest,
    )  # fmt: skip


def verify(address: str, store: Store) -> list[str]:
    """Names of files that are missing or not what the manifest says; empty where all is well."""
    entry = find(address)
    folder = store.path(entry.uri)
    if not (folder / MANIFEST).is_file():
        return [MANIFEST]
    manifest = read_manifest(folder)
    bad = [n for n, d in manifest.files.items() if not (folder / n).is_file() or digest_file(folder / n) != d]
    return bad + ([MANIFEST] if digest_of(manifest) != entry.manifest_digest else [])


def rollback(address: str, store: Store) -> DatasetVersion:
    """A new version with the rows of an old one; nothing is deleted, and what was held out since stays held out.

    Raises:
        UsageError: no such version, or it is the newest one already.
    """
    entry = find(address)
    with claim(store.root / "locks" / f"versions-{entry.project}.lock", f"dataset versions of {entry.project}"):
        newest = ledger.entries(entry.project, entry.name)[-1]
        if newest.digest == entry.digest and newest.policy_digest == entry.policy_digest:
            raise UsageError("the newest version has these rows already", where=newest.address)
        _refuse_held_out(entry, store)
        key = stage_key(1, "rollback", entry.manifest_digest, newest.address)

        def make(folder: Path) -> Written:
            source = store.path(entry.uri)
            manifest = read_manifest(source).model_copy(update={"restores": f"{entry.address} after {newest.version}"})
            for name in manifest.files:
                shutil.copyfile(source / name, folder / name)
            write_manifest(folder, manifest)
            return Written(manifest_digest=digest_of(manifest))

        written = store.produce("version", key, Written, make)
        return register(store, store.uri("version", key), written.manifest_digest, None)


def _refuse_held_out(entry: VersionEntry, store: Store) -> None:
    """An old version may train on rows that a later one holds out: bringing it back would spoil every later score."""
    from tasks.version.split import prompt_entity

    train = [row for row in read_rows(store.path(entry.uri) / ALL) if row.split == "train"]
    held = ledger.held_out(entry.project, [prompt_entity(row) for row in train])
    if held:
        raise UsageError("this version trains on rows that a later version holds out", where=entry.address,
                         why=f"{len(held)} prompts are in the holdout ledger",
                         remedy="run the pipeline on the old data: the ledger then decides the split")  # fmt: skip


def export(address: str, target: Path, store: Store) -> list[Path]:
    """Copy a version's files to a folder that does not exist yet or is empty.

    Raises:
        UsageError: the folder holds something.
    """
    entry = find(address)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError("the target is not an empty folder", where=str(target), remedy="give another folder")
    target.mkdir(parents=True, exist_ok=True)
    source = store.path(entry.uri)
    return [Path(shutil.copyfile(source / n, target / n)) for n in (*read_manifest(source).files, MANIFEST)]


def manifest_of(address: str, store: Store) -> Manifest:
    """The manifest of a version."""
    return read_manifest(store.path(find(address).uri))


def _by_content(store: Store, entry: VersionEntry) -> dict[Digest, Row]:
    rows: Sequence[Row] = [r for r in read_rows(store.path(entry.uri) / ALL) if r.outcome == "kept"]
    return {digest_of([m.model_dump() for m in row.messages]): row for row in rows}
