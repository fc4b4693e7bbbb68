"""The erasure as a whole, killed at any step, and what is left of a person afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from tasks.adapters import audit, erasures, ledger, registry, request_log, row_decisions, vault
from tasks.adapters.pseudonym_key import fingerprint, pseudonym_key
from tasks.adapters.row_files import iter_rows
from tasks.adapters.store import Store
from tasks.contracts import Row, Rows
from tasks.erase import certificate
from tasks.erase.carry_out import Done, Hands, carry_out, marks, opened
from tasks.erase.plan import Plan, make_plan
from tasks.erase.search import Search
from tasks.errors import DataRefused, EnvironmentUnusable
from tasks.evaluate.rows import messages_digest
from tasks.version.derive import without_rows
from tests.tasks.data_rows import stored
from tests.tasks.erase.person_home import ANNA, BOB, TEXTS, Home, annas_rows, make_home, subjects
from tests.tasks.version.versions import some_row, versioned

GENERATED = ("a generated kettle", "request 1", "reply 1", "original of anna", "thistle, repaired", "kettle answer")
SECRETS = (*TEXTS, *GENERATED)


def clean(address: str, row_ids: tuple[str, ...], reason: str) -> str:
    return without_rows(address, row_ids, reason, Store.open()).address


def name_of(row: Row) -> str:
    return messages_digest(row.messages)


def search_for(person: str) -> Search:
    return Search(subjects=subjects(person), users=(request_log.user_hash(person),))


def plan_of(search: Search) -> Plan:
    return make_plan(Store.open(), search, name_of, fingerprint(pseudonym_key()))


def erase(
    person: str = ANNA,
    without: Callable[[str, tuple[str, ...], str], str] = clean,
    forget: Callable[[tuple[str, ...]], int] = len,
    store: Store | None = None,
) -> tuple[certificate.Certificate, Plan, Done] | None:
    search = search_for(person)
    begun = opened(marks(search, pseudonym_key()), "tester", "asked for it", lambda: plan_of(search))
    if begun is None:
        return None
    finished, plan, done = carry_out(begun, search, Hands(without, name_of, forget), store or Store.open())
    return certificate.certificate(finished, plan, done), plan, done


def test_nothing_of_the_person_is_left_and_everything_of_the_others(person: Home) -> None:
    assert set(person.holding(*SECRETS, person.subject)) > {"runs/proj-1.html", "state.db-wal"}
    ended = erase()
    assert ended is not None
    made, plan, done = ended
    certificate.write(made, person.root)
    assert person.holding(*SECRETS, person.subject, request_log.user_hash(ANNA)) == []
    assert person.holding("bob asks something", "request 2")
    assert [(v.old, v.new) for v in made.versions] == [
        ("ds://proj/main@1.0.0", "ds://proj/main@1.2.0"),
        ("ds://proj/main@1.1.0", "ds://proj/main@1.3.0"),
    ]
    store = Store.open()
    newest = ledger.entries("proj", "main")[-1]
    rows = list(iter_rows(store.path(newest.uri) / "rows.jsonl"))
    assert len(rows) == 36
    assert subjects(BOB) in {row.subjects for row in rows}
    assert store.find("ingest", "clean", Rows) is not None
    assert store.find("ingest", "all", Rows) is None
    assert vault.read("ef" * 8 + ":000200", "test") == b"original of bob"
    assert row_decisions.history() == []
    assert (person.root / "work" / "process" / "others").is_dir()
    assert (person.root / "work" / "train" / "others").is_dir()
    assert (person.root / "runs" / "elsewhere-1.html").is_file()
    assert (done.requests, done.vault, done.decisions, done.records) == (1, 1, 1, 2)
    assert len(plan.outputs) == done.outputs - 1


def test_a_repair_that_only_names_the_person_goes_too(person: Home) -> None:
    others = row_decisions.history()
    decision = others[0].model_copy(update={"row_id": "ab" * 8 + ":000003", "subjects": subjects("carl@example.com")})
    row_decisions.record(decision)
    ended = erase("carl@example.com")
    assert ended is not None
    assert ended[2].decisions == 1
    assert row_decisions.history() == others


def test_unfinished_trainings_in_an_object_store_go_too(registry_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELOOP_VAULT_DAYS", "30")
    monkeypatch.setenv("TUNELOOP_STORE_URI", "memory://erased")
    person, store = make_home(registry_home), Store.open()
    try:
        notes = {"mine": person.second.digest, "others": "f" * 64}
        for key, digest in notes.items():
            note = json.dumps({"dataset_digest": digest}).encode()
            store.fs.pipe_file(f"{store.remote_work_path('train', key)}/training.json", note)
            store.fs.pipe_file(f"{store.remote_work_path('train', key)}/step-4/adapter.safetensors", b"weights")
        store.fs.pipe_file(f"{store.remote_work_path('train', 'unnamed')}/step-4/adapter.safetensors", b"weights")
        store.fs.pipe_file(f"{store.remote_work_path('train', 'cut')}/training.json", b'{"data')
        ended = erase()
        assert ended is not None
        assert ended[1].remote_work == ("cut", "mine", "unnamed")
        assert store.remote_work("train") == ["others"]
    finally:
        store.fs.rm("/erased", recursive=True)


def test_old_versions_are_tombstones_that_name_the_certificate(person: Home) -> None:
    ended = erase()
    assert ended is not None
    store = Store.open()
    with pytest.raises(DataRefused, match="erased") as caught:
        store.path(person.first.uri)
    assert ended[0].id in caught.value.why
    note = store.tombstone(person.first.uri)
    assert note is not None
    assert note.kept == ("manifest.json",)
    assert store.files(person.first.uri) == ["_ERASED.json", "manifest.json"]


def test_models_are_marked_for_retraining_and_unregistered_adapters_go(person: Home) -> None:
    ended = erase()
    assert ended is not None
    assert ended[2].models == ("proj/1",)
    assert registry.tags("proj", 1)["tuneloop.retrain"] == f"erasure:{ended[0].id}"
    store = Store.open()
    assert store.record("store://train/passed")
    assert store.files("store://train/refused") == ["_ERASED.json"]


def test_the_certificate_says_all_of_it_and_names_nobody(person: Home) -> None:
    ended = erase()
    assert ended is not None
    page, data = certificate.write(ended[0], person.root)
    text = page.read_text()
    parts = ["ds://proj/main@1.0.0", "ds://proj/main@1.2.0", "proj version 1", "asked for it", "tester", "another key"]
    for part in (*parts, "cd" * 32, "Backups", "| logged requests | 1 |"):
        assert part in text
    for secret in (ANNA, person.subject, *SECRETS):
        assert secret not in text + data.read_text()


def test_the_audit_log_tells_of_it(person: Home) -> None:
    erase()
    actions = [entry.action for entry in audit.entries()]
    assert actions.count("dataset.erased") == 2
    assert {"erasure.started", "vault.forgotten"} <= set(actions)
    assert audit.verify() == []


def test_a_second_time_nothing_is_found(person: Home) -> None:
    assert erase() is not None
    assert erase() is None
    assert erase(BOB) is not None


class Killed(BaseException):
    """The end of the process."""


class StoreThatDies(Store):
    """A store whose process is killed before the erasure of the so-many-th output."""

    left = 0

    def entomb(self, uri: str, keep: Collection[str], certificate: str) -> None:
        self.left -= 1
        if not self.left:
            raise Killed
        super().entomb(uri, keep, certificate)


class CleanThatDies:
    """Makes so many clean versions, then the process is killed."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __call__(self, address: str, row_ids: tuple[str, ...], reason: str) -> str:
        if not self.left:
            raise Killed
        self.left -= 1
        return clean(address, row_ids, reason)


def dies(_: tuple[str, ...]) -> int:
    raise Killed


def assert_finished_by_a_second_command(person: Home) -> None:
    (cut_short,) = erasures.of(marks(search_for(ANNA), pseudonym_key()))
    assert cut_short.finished_at is None
    ended = erase()
    assert ended is not None
    assert ended[0].id == cut_short.id
    assert [v.new for v in ended[0].versions] == ["ds://proj/main@1.2.0", "ds://proj/main@1.3.0"]
    assert person.holding(*SECRETS, person.subject) == []
    assert ledger.entries("proj", "main")[-1].version == "1.3.0"
    assert erase() is None


@pytest.mark.parametrize("made", [0, 1])
def test_killed_among_the_clean_versions(person: Home, made: int) -> None:
    with pytest.raises(Killed):
        erase(without=CleanThatDies(made))
    assert_finished_by_a_second_command(person)


@pytest.mark.parametrize("erased", [1, 4, 9])
def test_killed_among_the_outputs(person: Home, erased: int) -> None:
    store = StoreThatDies.open()
    store.left = erased
    with pytest.raises(Killed):
        erase(store=store)
    assert_finished_by_a_second_command(person)


def test_killed_before_the_run_history(person: Home) -> None:
    with pytest.raises(Killed):
        erase(forget=dies)
    assert_finished_by_a_second_command(person)


def test_an_old_version_gets_no_successor_where_the_newest_is_clean(registry_home: Path) -> None:
    anna = some_row(100, TEXTS[0], subjects=subjects(ANNA))
    others = [some_row(n, f"question {n}", split="test" if n == 1 else "train") for n in (1, 2, 3)]
    versioned([*others, anna])
    newest = versioned([*others, some_row(4, "question 4")])
    ended = erase()
    assert ended is not None
    assert ended[0].versions[0].new == newest.address
    assert "none of the rows" in ended[0].versions[0].why
    assert ledger.entries("proj", "main")[-1] == newest


def test_a_version_of_this_person_alone_gets_no_successor(registry_home: Path) -> None:
    anna = {"subjects": subjects(ANNA)}
    versioned([some_row(1, TEXTS[0], split="test", **anna), some_row(2, TEXTS[1], **anna)])
    ended = erase()
    assert ended is not None
    assert ended[0].versions[0].new == ""
    assert ended[0].versions[0].why.startswith("TL-DATA")


class StoreWithARun(Store):
    """A store into which a run writes the person again whenever that was erased."""

    def entomb(self, uri: str, keep: Collection[str], certificate: str) -> None:
        super().entomb(uri, keep, certificate)
        if uri.startswith("store://given/"):
            stored(annas_rows(), self)


def write_again(_: tuple[str, ...]) -> int:
    stored(annas_rows(), Store.open())
    return 0


def test_rows_that_a_run_writes_meanwhile_are_erased_too(person: Home) -> None:
    assert erase(forget=write_again) is not None
    assert person.holding(*SECRETS, person.subject) == []


def test_rows_that_keep_appearing_are_an_error(person: Home) -> None:
    write_again(())
    with pytest.raises(EnvironmentUnusable, match="keep appearing"):
        erase(store=StoreWithARun.open())
