"""What an erasure will touch, written down before anything is deleted: afterwards it could not be found any more."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from pydantic import Field

from tasks.adapters import ledger, registry, request_log, row_decisions, vault
from tasks.adapters.ledger import VersionEntry
from tasks.adapters.store import Store
from tasks.contracts import Digest, Record
from tasks.erase.find import Affected, Finding, Fingerprint, find, output_lists
from tasks.erase.search import Search

TRAINING = "train"  # the stage whose unfinished work has learned from rows
_JOB = ".job.json"
_NOTE = "training.json"  # which training checkpoints belong to; beside them, here and in an object store
_PAGES = "runs"
_BLOCK = 1 << 20


class VersionPlan(Record):
    """A dataset version that holds rows of the person."""

    address: str
    uri: str
    digest: Digest
    rows: Affected


class ModelPlan(Record):
    """A registered version that was trained on rows of the person."""

    name: str
    version: int
    alias: str
    dataset_digest: Digest


class Plan(Record):
    """Everything that is touched. Holds no personal value and no hash of one."""

    row_ids: tuple[str, ...] = Field(description="Source digest and number of each record.")
    sources: dict[Digest, int] = Field(description="SHA-256 of a source → rows of the person in it.")
    versions: tuple[VersionPlan, ...]
    outputs: tuple[Affected, ...] = Field(description="Stage outputs that are erased, those of the versions included.")
    adapters: tuple[str, ...] = Field(
        description="Adapters in the store that were trained on the rows, not registered."
    )
    models: tuple[ModelPlan, ...]
    work: tuple[str, ...] = Field(description="Folders of unfinished work, below HOME.")
    remote_work: tuple[str, ...] = Field((), description="Keys of unfinished trainings in the object store.")
    pages: tuple[str, ...] = Field(description="Summaries of runs that name an affected version, below HOME.")
    requests: tuple[str, ...] = Field(description="Ids of logged requests.")
    decisions: int = Field(0, ge=0, description="Decisions about the rows, and repairs that name the person.")
    vault: tuple[str, ...] = Field(description="Row ids of originals in the vault.")
    other_keys: dict[str, int] = Field(
        default_factory=dict, description="Fingerprint of another pseudonym key → outputs in which nobody can be found."
    )
    other_requests: dict[str, int] = Field(
        default_factory=dict, description="The same → logged requests whose text cannot be searched; empty: no key."
    )

    @property
    def is_empty(self) -> bool:
        return not (self.outputs or self.requests or self.vault or self.decisions)

    def by_stage(self) -> dict[str, int]:
        """Stage → outputs that are erased."""
        uris = [*(output.uri for output in self.outputs), *self.adapters]
        return dict(sorted(Counter(uri.removeprefix("store://").split("/")[0] for uri in uris).items()))


def make_plan(store: Store, search: Search, fingerprint: Fingerprint, key: str) -> Plan:
    """Look everywhere.

    Args:
        fingerprint: how generated answers name the row that they answer.
        key: fingerprint of the pseudonym key that the search was made with.
    """
    search = search.with_requests(requests_of(search))
    found = find(store, search, fingerprint)
    versions = _versions(found)
    trained = {version.digest for version in versions if version.rows.train}
    models, adapters = _models(store, trained)
    names = {version.address for version in versions}
    return Plan(
        row_ids=tuple(sorted(found.hits)),
        sources=dict(sorted(Counter(hit.source for hit in found.hits.values()).items())),
        versions=versions,
        outputs=found.outputs,
        adapters=adapters,
        models=models,
        work=tuple(_work(store.root, search, found, trained)),
        remote_work=tuple(_remote_work(store, trained)),
        pages=tuple(_pages(store.root, names)),
        requests=_requests(search, found),
        decisions=len(row_decisions.of_persons(found.hits, search.subjects)),
        vault=tuple(sorted(vault.kept(row_ids=found.hits.keys(), subjects=search.subjects))),
        other_keys=_other_keys(store, key),
        other_requests={made: count for made, count in request_log.by_key().items() if made != key},
    )


def requests_of(search: Search) -> tuple[str, ...]:
    """Logged requests with the person's tag, or with an identifier of the person in prompt or answer."""
    return tuple(sorted({*request_log.of_users(search.users), *request_log.of_subjects(search.subjects)}))


def _requests(search: Search, found: Finding) -> tuple[str, ...]:
    """Requests that the search names, and those that rows of the person were made of."""
    named = {hit.request for hit in found.hits.values()} | {value for _, value in search.metadata}
    return request_log.known(named)


def _versions(found: Finding) -> tuple[VersionPlan, ...]:
    affected = {output.uri: output for output in found.outputs}
    return tuple(_version(entry, affected[entry.uri]) for entry in ledger.entries() if entry.uri in affected)


def _version(entry: VersionEntry, rows: Affected) -> VersionPlan:
    return VersionPlan(address=entry.address, uri=entry.uri, digest=entry.digest, rows=rows)


def _models(store: Store, digests: Collection[Digest]) -> tuple[tuple[ModelPlan, ...], tuple[str, ...]]:
    """Registered models of these datasets, and adapters in the store that were never registered."""
    if not digests:
        return (), ()
    models = [(digest, model) for digest in sorted(digests) for model in registry.trained_on([digest])]
    registered = {model.adapter_digest for _, model in models}
    plans = (ModelPlan(name=m.name, version=m.version, alias=m.alias, dataset_digest=d) for d, m in models)
    adapters = (
        uri
        for uri, record in ((uri, store.record(uri)) for uri in store.outputs() if uri.startswith("store://train/"))
        if record.get("dataset_digest") in digests and record.get("adapter_digest") not in registered
    )
    return tuple(plans), tuple(adapters)


def _work(root: Path, search: Search, found: Finding, trained: Collection[Digest]) -> Iterator[str]:
    """Unfinished outputs that hold rows of the person, and checkpoints that may have learned from them."""
    names = {*search.needles, *(name.encode() for hit in found.hits.values() for name in (hit.row_id, hit.fingerprint))}
    for stage in sorted(path for path in (root / "work").glob("*") if path.is_dir()):
        for path in sorted(stage.iterdir()):
            if stage.name == TRAINING:
                affected = bool(trained) and path.is_dir() and _dataset_of(path) in {*trained, ""}
            else:
                affected = any(holds(file, names) for file in ([path] if path.is_file() else path.rglob("*")))
            if affected:
                yield path.relative_to(root).as_posix()


def _remote_work(store: Store, trained: Collection[Digest]) -> Iterator[str]:
    """Keys of unfinished trainings in the object store that may have learned from rows of the person."""
    for key in store.remote_work(TRAINING) if trained else ():
        if _remote_dataset(store, key) in {*trained, ""}:
            yield key


def _dataset_of(work: Path) -> Digest:
    """Dataset of an unfinished training; empty where nothing says so, which counts as affected."""
    notes = (work / "checkpoints" / _NOTE, work.with_name(f"{work.name}{_JOB}"))
    return next((_dataset_in(note.read_bytes()) for note in notes if note.is_file()), "")


def _remote_dataset(store: Store, key: str) -> Digest:
    note = f"{store.remote_work_path(TRAINING, key)}/{_NOTE}"
    return _dataset_in(store.fs.cat_file(note)) if store.fs.exists(note) else ""


def _dataset_in(note: bytes) -> Digest:
    try:
        return str(json.loads(note)["dataset_digest"])
    except (ValueError, LookupError, TypeError):
        return ""


def _pages(root: Path, addresses: Collection[str]) -> Iterator[str]:
    names = [address.encode() for address in addresses]
    for page in sorted((root / _PAGES).glob("*.html")):
        if holds(page, names):
            yield page.relative_to(root).as_posix()


def holds(path: Path, texts: Iterable[bytes]) -> bool:
    """Whether a file has one of the texts in it, read in blocks."""
    wanted = list(texts)
    if not path.is_file() or not wanted:
        return False
    reach = max(map(len, wanted))
    with path.open("rb") as stream:
        tail = b""
        while block := stream.read(_BLOCK):
            if any(text in tail + block for text in wanted):
                return True
            tail = block[-reach:]
    return False


def _other_keys(store: Store, key: str) -> dict[str, int]:
    made = (output.privacy.key_fingerprint for _, output in output_lists(store))
    return dict(sorted(Counter(fingerprint for fingerprint in made if fingerprint != key).items()))


def remove_work(root: Path, names: Iterable[str]) -> None:
    """Delete folders and files below HOME; what is gone already is no error."""
    for name in names:
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name}{_JOB}").unlink(missing_ok=True)
