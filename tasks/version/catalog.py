"""Dataset versions that exist: list them, find one by its address, look at it, bring its rows back."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tasks.adapters import audit, ledger
from tasks.adapters.ledger import VersionEntry
from tasks.adapters.row_files import iter_rows
from tasks.adapters.store import Store, stage_key
from tasks.contracts import DatasetVersion
from tasks.digest import digest_of
from tasks.errors import UsageError
from tasks.version.content import ALL, CARD, TRAIN, Manifest, read_manifest, write_manifest
from tasks.version.split import entities
from tasks.version.stage import Written, describe, register, versions_claim

_ADDRESS = re.compile(r"ds://(?P<project>[a-z0-9_-]+)/(?P<name>[a-z0-9_-]+)(?:@(?P<version>\d+\.\d+\.\d+|latest))?")


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


def rollback(address: str, store: Store) -> DatasetVersion:
    """A new version with the rows of an old one; nothing is deleted, and what was held out since stays held out.

    Raises:
        UsageError: no such version, or it is the newest one already.
    """
    entry = find(address)
    with versions_claim(store, entry.project):
        newest = ledger.entries(entry.project, entry.name)[-1]
        if newest.digest == entry.digest and newest.policy_digest == entry.policy_digest:
            raise UsageError("the newest version has these rows already", where=newest.address)
        _refuse_held_out(entry, store)
        key = stage_key(1, "rollback", entry.manifest_digest, newest.address)

        def make(folder: Path) -> Written:
            source = store.path(entry.uri)
            manifest = read_manifest(source).model_copy(update={"restores": f"{entry.address} after {newest.version}"})
            for name in manifest.files:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, folder / name)
            write_manifest(folder, manifest)
            return Written(manifest_digest=digest_of(manifest))

        written = store.produce("version", key, Written, make)
        version = register(store, store.uri("version", key), written.manifest_digest)
    audit.record("dataset.rolled_back", version.address, details={"rows_of": entry.address})
    return version


def _refuse_held_out(entry: VersionEntry, store: Store) -> None:
    """An old version may train on rows that a later one holds out: bringing it back would spoil every later score."""
    folder = rows_path(entry, store).parent
    group_by = read_manifest(folder).group_by or None
    held = ledger.held_out(entry.project, (e for row in iter_rows(folder / TRAIN) for e in entities(row, group_by)))
    if held:
        raise UsageError("this version trains on rows that a later version holds out", where=entry.address,
                         why=f"{len(held)} prompts or groups are in the holdout ledger",
                         remedy="run the pipeline on the old data: the ledger then decides the split")  # fmt: skip


def rows_path(entry: VersionEntry, store: Store) -> Path:
    """The file with all rows of a version.

    Raises:
        UsageError: an erasure has taken the rows; only the manifest is left.
    """
    path = store.path(entry.uri) / ALL
    if not path.is_file():
        raise UsageError("the rows of this version are not there any more", where=entry.address,
                         why="an erasure took them, or its files were deleted by hand",
                         remedy="`tuneloop data list` shows the versions that came after it")  # fmt: skip
    return path


def manifest_of(address: str, store: Store) -> Manifest:
    """The manifest of a version."""
    return read_manifest(store.path(find(address).uri))
