"""The erasure itself: one step after the other, each written down when it is done, each safe to be repeated.

A command that was killed finds its plan and what was done in the journal and goes on. Clean versions come first, while
the rows can still be read; then everything that holds the person goes; at the end everything is searched once more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pydantic import Field

from tasks.adapters import audit, erasures, ledger, registry, request_log, row_decisions, state, vault
from tasks.adapters.erasures import Erasure
from tasks.adapters.store import Store
from tasks.contracts import Record
from tasks.erase.find import Affected, Fingerprint, find
from tasks.erase.plan import TRAINING, Plan, VersionPlan, remove_work, requests_of
from tasks.erase.search import Search
from tasks.errors import EnvironmentUnusable, TuneloopError

_ROUNDS = 3
MANIFEST = "manifest.json"


class Replaced(Record):
    """What became of one dataset version."""

    old: str
    new: str = Field("", description="Address of the version without the rows; empty where there is none.")
    why: str = Field("", description="Why there is no new one.")


class Done(Record):
    """What was done so far."""

    versions: tuple[Replaced, ...] = ()
    outputs: int = Field(0, ge=0, description="Stage outputs that were erased.")
    requests: int = 0
    vault: int = 0
    decisions: int = 0
    records: int = Field(0, description="Pages of run history that named an affected version.")
    models: tuple[str, ...] = Field((), description="name/version of the models marked for retraining.")
    searched_again: bool = Field(False, description="A second search over everything found nothing.")


class Hands(NamedTuple):
    """What the erasure needs of others: stages do not know one another."""

    without_rows: Callable[[str, tuple[str, ...], str], str]
    """Address of the version that is made from one at an address, without some rows, for a reason."""
    fingerprint: Fingerprint
    """How generated answers name the row that they answer."""
    forget_run_records: Callable[[tuple[str, ...]], int]
    """Delete what the run history shows of these versions; how many pages it were."""


def carry_out(erasure: Erasure, search: Search, hands: Hands, store: Store) -> tuple[Erasure, Plan, Done]:
    """Finish an erasure that was begun, from wherever it stands.

    Raises:
        EnvironmentUnusable: rows of the person keep appearing: something writes at the same time.
    """
    plan, done = Plan.model_validate_json(erasure.plan), Done.model_validate_json(erasure.done)
    for version in plan.versions[len(done.versions) :]:
        replaced = _replace(version, plan, erasure, hands)
        done = _noted(erasure, done, versions=(*done.versions, replaced))
    done = _erase_outputs(erasure, plan, done, store)
    done = _erase_entries(erasure, plan, done, search, hands)
    plan, done = _search_again(erasure, plan, done, search, hands, store)
    marked = tuple(f"{model.name}/{model.version}" for model in plan.models)
    for model in plan.models:
        registry.mark_for_retraining(model.name, model.version, f"erasure:{erasure.id}")
    state.scrub()
    done = done.model_copy(update={"models": marked, "searched_again": True})
    return erasures.save(erasure, plan=plan.model_dump_json(), done=done.model_dump_json(), finished=True), plan, done


def _noted(erasure: Erasure, done: Done, **changes: object) -> Done:
    after = done.model_copy(update=changes)
    erasures.save(erasure, done=after.model_dump_json())
    return after


def _replace(version: VersionPlan, plan: Plan, erasure: Erasure, hands: Hands) -> Replaced:
    """The version without the rows. An old one gets none where the newest is clean: it would become the newest."""
    project, name = version.address.removeprefix("ds://").split("@")[0].split("/")
    mine = {v.address for v in plan.versions}
    standing = [e for e in ledger.entries(project, name) if e.created_at <= erasure.started_at]
    if standing and standing[-1].address not in mine:
        return Replaced(old=version.address, new=standing[-1].address, why="the newest version has none of the rows")
    reason = f"erasure {erasure.id}"
    try:
        new = hands.without_rows(version.address, plan.row_ids, reason)
    except TuneloopError as error:
        return Replaced(old=version.address, why=f"{error.code}: {error.what}")
    audit.record("dataset.erased", version.address, reason=reason, actor=erasure.actor, details={"replaced_by": new})
    return Replaced(old=version.address, new=new)


def _erase_outputs(erasure: Erasure, plan: Plan, done: Done, store: Store) -> Done:
    uris = sorted({*(output.uri for output in plan.outputs), *plan.adapters})
    versions = {version.uri for version in plan.versions}
    for uri in uris:
        store.entomb(uri, (MANIFEST,) if uri in versions else (), erasure.id)
    remove_work(store.root, (*plan.work, *plan.pages))
    for key in plan.remote_work:
        store.forget_remote_work(TRAINING, key)
    return _noted(erasure, done, outputs=len(uris))


def _erase_entries(erasure: Erasure, plan: Plan, done: Done, search: Search, hands: Hands) -> Done:
    """Entries of the databases. What a killed attempt deleted already was counted in the plan."""
    request_log.delete(plan.requests)
    vault.forget(row_ids=plan.row_ids, subjects=search.subjects)
    row_decisions.forget(plan.row_ids, search.subjects)
    records = hands.forget_run_records(tuple(version.address for version in plan.versions))
    return _noted(
        erasure,
        done,
        requests=len(plan.requests),
        vault=len(plan.vault),
        decisions=plan.decisions,
        records=max(done.records, records),
    )


def _search_again(
    erasure: Erasure, plan: Plan, done: Done, search: Search, hands: Hands, store: Store
) -> tuple[Plan, Done]:
    """Search until nothing is found; what a run wrote in the meantime is erased too."""
    for _ in range(_ROUNDS):
        requests = requests_of(search)
        found = find(store, search.with_requests((*plan.requests, *requests)), hands.fingerprint)
        if not found.outputs and not requests:
            return plan, done
        outputs, asked = _united(plan.outputs, found.outputs), tuple(sorted({*plan.requests, *requests}))
        plan = plan.model_copy(update={"outputs": outputs, "requests": asked})
        erasures.save(erasure, plan=plan.model_dump_json(), done=done.model_dump_json())
        request_log.delete(requests)
        done = _erase_outputs(erasure, plan, done.model_copy(update={"requests": len(asked)}), store)
    raise EnvironmentUnusable(
        "rows of the person keep appearing",
        where=", ".join(sorted(found.uris)[:5]) or "the request log",
        why="a run reads them from the sources again, or they are asked about, while they are erased",
        remedy="end the runs, delete the person at the sources, then repeat the command: it goes on where it was",
    )


def _united(one: tuple[Affected, ...], other: tuple[Affected, ...]) -> tuple[Affected, ...]:
    by_uri = {output.uri: output for output in (*other, *one)}
    return tuple(by_uri[uri] for uri in sorted(by_uri))


def marks(search: Search, key: bytes) -> tuple[str, ...]:
    """What the journal and the certificate say instead of the search."""
    return tuple(sorted(erasures.mark(keyed) for keyed in search.keyed(key)))


def opened(search_marks: tuple[str, ...], actor: str, reason: str, make_plan: Callable[[], Plan]) -> Erasure | None:
    """The erasure to carry out: one that was cut short, else a new one; None where nothing is found."""
    for entry in erasures.of(search_marks):
        if entry.finished_at is None and set(entry.marks) == set(search_marks):
            return entry
    plan = make_plan()
    if plan.is_empty:
        return None
    begun = erasures.begin(search_marks, actor, reason, plan.model_dump_json())
    details: dict[str, str | int] = {"versions": len(plan.versions), "rows": len(plan.row_ids)}
    audit.record("erasure.started", begun.id, actor=actor, reason=reason, details=details)
    return begun
