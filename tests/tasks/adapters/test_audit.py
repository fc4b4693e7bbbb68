"""The audit log: a chain that shows every change, from many processes at once."""

from __future__ import annotations

import multiprocessing
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.adapters import audit, state, tables
from tasks.adapters.audit import Head

LOG = tables.audit_log


def write(count: int) -> None:
    for number in range(count):
        audit.record("dataset.versioned", f"ds://p/main@1.{number}.0", details={"rows": number})


def change(statement: sa.Update | sa.Delete | sa.Insert) -> None:
    with state.engine().begin() as connection:
        connection.execute(statement)


def renumber(shift: Callable[[int], int]) -> None:
    """Give every entry another number, as someone with access to the database would."""
    with state.engine().begin() as connection:
        rows = [dict(row) for row in connection.execute(sa.select(LOG).order_by(LOG.c.seq)).mappings()]
        connection.execute(sa.delete(LOG))
        connection.execute(sa.insert(LOG), [{**row, "seq": shift(row["seq"])} for row in rows])


def faults() -> list[tuple[str, int, int]]:
    return [(fault.kind, fault.first, fault.last) for fault in audit.verify()]


def test_entries_are_chained_and_anchored(home: Path) -> None:
    first = audit.record("dataset.exported", "ds://p/main@1.0.0", actor="ann", reason="audit", details={"files": 3})
    second = audit.record("vault.read", "ab:000001")
    assert (first.seq, first.previous_digest, second.previous_digest) == (1, "", first.digest)
    assert list(audit.entries()) == [first, second]
    assert list(audit.entries(newest=1)) == [second]
    assert audit.head() == Head(seq=2, digest=second.digest) == audit.read_anchor()
    assert stat.S_IMODE((home / "audit.head").stat().st_mode) == 0o600
    assert audit.verify() == []


def test_an_empty_log_is_whole(home: Path) -> None:
    assert audit.verify() == []


def test_the_actor_is_the_setting_or_the_login_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "login")
    assert audit.record("a", "o").actor == "login"
    monkeypatch.setenv("TUNELOOP_ACTOR", "ci-robot")
    assert audit.record("a", "o").actor == "ci-robot"


@pytest.mark.parametrize(
    "values",
    [
        {"actor": "someone else"},
        {"action": "nothing"},
        {"object": "ds://p/main@9.9.9"},
        {"reason": "because"},
        {"details": '{"rows":7}'},
        {"details": '{ "rows": 4 }'},
        {"details": "no json"},
        {"at": "a second later"},
        {"previous_digest": "0" * 64},
        {"digest": "0" * 64},
    ],
    ids=str,
)
def test_a_changed_field_is_found(home: Path, values: dict[str, object]) -> None:
    write(8)
    if "at" in values:
        values = {"at": list(audit.entries())[4].at + timedelta(seconds=1)}
    change(sa.update(LOG).where(LOG.c.seq == 5).values(**values))
    assert faults() == [("changed", 5, 5)]


def test_an_entry_that_was_written_anew_with_a_fitting_digest_is_found(home: Path) -> None:
    write(8)
    fifth = list(audit.entries())[4].model_copy(update={"actor": "someone else"})
    change(sa.update(LOG).where(LOG.c.seq == 5).values(actor="someone else", digest=fifth.computed(5)))
    assert faults() == [("changed", 5, 5)]


def test_a_chain_that_was_written_anew_to_its_end_does_not_fit_the_anchor(home: Path) -> None:
    write(3)
    before = ""
    for entry in list(audit.entries()):
        forged = entry.model_copy(update={"actor": "someone else", "previous_digest": before})
        before = forged.computed(entry.seq)
        values = {"actor": "someone else", "previous_digest": forged.previous_digest, "digest": before}
        change(sa.update(LOG).where(LOG.c.seq == entry.seq).values(**values))
    assert faults() == [("changed", 3, 3)]


@pytest.mark.parametrize("gone", [[1], [4], [3, 4, 5]])
def test_missing_entries_are_found(home: Path, gone: list[int]) -> None:
    write(8)
    change(sa.delete(LOG).where(LOG.c.seq.in_(gone)))
    assert faults() == [("missing", gone[0], gone[-1])]


def test_a_gap_that_was_closed_by_new_numbers_is_found(home: Path) -> None:
    write(8)
    change(sa.delete(LOG).where(LOG.c.seq == 4))
    renumber(lambda seq: seq - 1 if seq > 4 else seq)
    assert faults() == [("missing", 4, 4), ("moved", 5, 8)]


def test_an_entry_that_was_put_in_is_found(home: Path) -> None:
    write(6)
    renumber(lambda seq: seq + 1 if seq > 3 else seq)
    third = list(audit.entries())[2]
    forged = third.model_copy(update={"seq": 4, "object": "forged", "previous_digest": third.digest})
    values = {**forged.model_dump(), "details": "{}", "digest": "1" * 64}
    change(sa.insert(LOG).values(**values))
    assert faults() == [("inserted", 4, 4), ("moved", 4, 6)]


def test_entries_in_another_order_are_found(home: Path) -> None:
    write(6)
    renumber(lambda seq: {2: 5, 5: 2}.get(seq, seq))
    assert faults() == [("moved", 2, 2), ("moved", 5, 5)]


@pytest.mark.parametrize("left", [0, 5, 7])
def test_a_cut_end_is_found_by_the_anchor_and_is_never_forgotten(home: Path, left: int) -> None:
    write(8)
    change(sa.delete(LOG).where(LOG.c.seq > left))
    assert faults() == [("cut", left + 1, 8)]
    assert audit.record("a", "later").seq == 9
    assert faults() == [("missing", left + 1, 8)]


def test_a_removed_anchor_is_found_and_leaves_a_trace(home: Path) -> None:
    write(3)
    audit.anchor_path().unlink()
    assert faults() == [("unanchored", 3, 3)]
    write(1)
    assert audit.verify() == []
    assert [entry.action for entry in audit.entries(first=4)] == ["audit.anchored", "dataset.versioned"]


def test_a_head_that_was_noted_elsewhere_finds_a_cut_that_the_anchor_followed(home: Path) -> None:
    write(5)
    noted = audit.head()
    change(sa.delete(LOG).where(LOG.c.seq > 3))
    audit.write_anchor(audit.head())
    assert audit.verify() == []
    assert [fault.kind for fault in audit.verify(noted)] == ["cut"]


def test_a_process_that_was_killed_before_the_anchor_does_no_harm(home: Path) -> None:
    write(3)
    behind = audit.read_anchor()
    write(1)
    assert behind is not None
    audit.write_anchor(behind)
    assert audit.verify() == []
    assert audit.record("a", "o").seq == 5
    assert audit.verify() == []


def test_many_processes_do_not_fork_the_chain(home: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=write, args=(25,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [entry.seq for entry in audit.entries()] == list(range(1, 101))
    assert audit.verify() == []


@given(at=st.integers(1, 12), column=st.sampled_from(["actor", "object", "reason", "digest", "previous_digest"]))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_changed_wherever_is_found(home: Path, at: int, column: str) -> None:
    if audit.head().seq < 12:
        write(12)
    before = list(audit.entries())[at - 1]
    change(sa.update(LOG).where(LOG.c.seq == at).values({column: "changed"}))
    assert faults() == [("changed", at, at)]
    change(sa.update(LOG).where(LOG.c.seq == at).values({column: getattr(before, column)}))
    assert audit.verify() == []
