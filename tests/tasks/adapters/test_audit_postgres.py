"""The audit log and the vault in one PostgreSQL that two machines share."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tasks.adapters import audit, state, tables, vault
from tests.tasks.adapters.sources.databases import Database, postgres


@pytest.fixture(scope="module")
def server() -> Iterator[Database]:
    with postgres() as database:
        yield database


@pytest.fixture
def shared(server: Database, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose state database is PostgreSQL; a second machine has a home of its own beside it."""
    monkeypatch.setenv("TUNELOOP_STATE_URL", server.admin.url.render_as_string(hide_password=False))
    with state.engine().begin() as connection:
        connection.execute(sa.delete(tables.audit_log))
    return home


def write(home: str, count: int) -> None:
    import os

    os.environ["TUNELOOP_HOME"] = home
    for number in range(count):
        audit.record("dataset.versioned", f"ds://p/main@1.{number}.0", details={"rows": number})


def test_processes_of_two_machines_do_not_fork_the_chain(shared: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    homes = [str(shared), str(tmp_path / "second")] * 2
    workers = [context.Process(target=write, args=(home, 20)) for home in homes]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    entries = list(audit.entries())
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    assert sum(entry.action == "dataset.versioned" for entry in entries) == 80
    assert audit.verify() == []


def test_a_cut_end_is_found(shared: Path) -> None:
    write(str(shared), 4)
    with state.engine().begin() as connection:
        connection.execute(sa.delete(tables.audit_log).where(tables.audit_log.c.seq > 2))
    assert [(fault.kind, fault.first, fault.last) for fault in audit.verify()] == [("cut", 3, 4)]


def test_the_vault_and_what_it_forgets(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELOOP_VAULT_DAYS", "1")
    vault.keep("ab:000001", b"text", ("s",))
    assert vault.read("ab:000001", "why") == b"text"
    assert vault.forget(subjects=["s"]) == 1
    state.scrub()
    assert vault.kept(row_ids=["ab:000001"], subjects=["s"]) == set()
