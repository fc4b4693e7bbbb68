"""Recompute everything that is said about a version: digests, identity, numbers, membership, marker, ledger.

What a fault is about is a file of the version, or `ledger` for what the state database says.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from tasks.adapters import ledger
from tasks.adapters.ledger import VersionEntry
from tasks.adapters.row_files import iter_rows, row_line
from tasks.adapters.store import LAYOUT, MARKER, Store
from tasks.contracts import Record
from tasks.digest import digest_file, digest_of
from tasks.version.catalog import find
from tasks.version.content import ALL, MANIFEST, TEST, TRAIN, Manifest, identity_digest, identity_of, read_manifest
from tasks.version.distributions import Counting
from tasks.version.split import entities

_BATCH = 1000


class Fault(Record):
    """Something that is not what it should be."""

    file: str
    what: str


def verify(address: str, store: Store) -> list[Fault]:
    """Everything that is wrong with a version; empty where all is well."""
    entry = find(address)
    folder = store.path(entry.uri)
    if not (folder / MANIFEST).is_file():
        return [Fault(file=MANIFEST, what="is missing")]
    try:
        manifest = read_manifest(folder)
    except (ValidationError, UnicodeDecodeError):
        return [Fault(file=MANIFEST, what="cannot be read"), *_marker(folder, entry)]
    faults = [*_manifest(manifest, entry), *_files(folder, manifest), *_marker(folder, entry)]
    broken = {fault.file for fault in faults}
    if not broken & {ALL, TRAIN, TEST}:  # the rows of a file that was changed are not worth counting
        faults += [*_rows(folder, manifest, entry), *_membership(folder), *_held_out(folder, manifest)]
    return faults


def _manifest(manifest: Manifest, entry: VersionEntry) -> list[Fault]:
    said = {
        "its digest": (digest_of(manifest), entry.manifest_digest),
        "the identity in it": (manifest.identity, entry.digest),
        "the policy in it": (manifest.policy, entry.policy_digest),
        "the name in it": (f"{manifest.project}/{manifest.name}", f"{entry.project}/{entry.name}"),
    }
    return [Fault(file=MANIFEST, what=f"{n} is not what the database says") for n, (a, b) in said.items() if a != b]


def _files(folder: Path, manifest: Manifest) -> list[Fault]:
    faults = []
    for name, digest in manifest.files.items():
        if not (folder / name).is_file():
            faults.append(Fault(file=name, what="is missing"))
        elif digest_file(folder / name) != digest:
            faults.append(Fault(file=name, what="its SHA-256 is not the one in the manifest"))
    known = {*manifest.files, MANIFEST, MARKER}
    strange = sorted(n for n in _names(folder) if n not in known)
    return faults + [Fault(file=name, what="does not belong to the version") for name in strange]


def _names(folder: Path) -> list[str]:
    return [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]


def _marker(folder: Path, entry: VersionEntry) -> list[Fault]:
    """The completion marker lists the same files once more, the manifest among them, and nothing else is in it."""
    if not (folder / MARKER).is_file():
        return [Fault(file=MARKER, what="is missing")]
    files = {name: digest_file(folder / name) for name in sorted(_names(folder)) if name != MARKER}
    record = {"manifest_digest": entry.manifest_digest}
    expected = json.dumps({"layout": LAYOUT, "record": record, "files": files}, indent=1)
    raw = (folder / MARKER).read_bytes()
    if raw == expected.encode():
        return []
    return [*_changed_files(raw, files), Fault(file=MARKER, what="is not what the files and the database say")]


def _changed_files(raw: bytes, files: dict[str, str]) -> list[Fault]:
    """The manifest where the marker knows another SHA-256 of it: white space in it does not change its digest."""
    try:
        said = json.loads(raw)["files"][MANIFEST]
    except (ValueError, KeyError, TypeError):
        return []
    wrong = said != files.get(MANIFEST)
    return [Fault(file=MANIFEST, what="its SHA-256 is not the one in the completion marker")] if wrong else []


def _rows(folder: Path, manifest: Manifest, entry: VersionEntry) -> list[Fault]:
    """Count the rows again and compute the identity from them."""
    counting, digests = Counting(), bytearray()
    sources: Counter[str] = Counter()
    wrong_ids = 0
    for row in iter_rows(folder / ALL):
        counting.add(row)
        sources[row.origin.source_digest] += 1
        wrong_ids += row.row_id != f"{row.origin.source_digest[:16]}:{row.origin.record_index:06d}"
        if row.outcome == "kept":
            digests += identity_digest(row)
    numbers = counting.result()
    said = {
        "the identity": (identity_of([digests]), entry.digest),
        "the number of rows": (numbers.counts, manifest.counts),
        "the reasons": (numbers.reasons, manifest.reasons),
        "the sources": (dict(sources), manifest.sources),
        "the size of the splits": (numbers.splits, {"train": manifest.train_rows, "test": manifest.test_rows}),
    }
    faults = [Fault(file=ALL, what=f"{name} is not the manifest's") for name, (is_, was) in said.items() if is_ != was]
    return faults + (
        [Fault(file=ALL, what=f"{wrong_ids} rows have another id than their origin gives")] * bool(wrong_ids)
    )


def _membership(folder: Path) -> list[Fault]:
    """The two split files hold exactly the kept rows of that split, in the same order."""
    faults = []
    for file, split in ((TRAIN, "train"), (TEST, "test")):
        with (folder / file).open("rb") as stream:
            lines = (row_line(row) for row in iter_rows(folder / ALL) if row.split == split)
            equal = all(line == stream.readline() for line in lines) and not stream.readline()
        faults += [] if equal else [Fault(file=file, what="does not hold the rows of its split")]
    return faults


def _held_out(folder: Path, manifest: Manifest) -> list[Fault]:
    """Every prompt and group that is held out is in the ledger of its project."""
    rows, missing = iter_rows(folder / TEST), 0
    while batch := {e for row in islice(rows, _BATCH) for e in entities(row, manifest.group_by or None)}:
        missing += len(batch - ledger.held_out(manifest.project, batch))
    return [Fault(file="ledger", what=f"{missing} held-out prompts are not in the holdout ledger")] if missing else []
