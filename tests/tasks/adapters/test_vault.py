"""The vault: what is kept can be read for its time, by nobody without the key, and never again once forgotten."""

from __future__ import annotations

import os
import shutil
import stat
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from tasks.adapters import audit, state, tables, vault
from tasks.errors import DataRefused, EnvironmentUnusable, UsageError

TEXT = b'{"prompt": "write to anna@example.com"}'
ROW, OTHER = "ab" * 8 + ":000001", "ab" * 8 + ":000002"


@pytest.fixture
def on(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNELOOP_VAULT_DAYS", "30")
    return home


def change(**values: object) -> None:
    with state.engine().begin() as connection:
        connection.execute(sa.update(tables.vault_items).where(tables.vault_items.c.row_id == ROW).values(**values))


def sealed(home: Path) -> list[Path]:
    return sorted((home / "vault").rglob("*.sealed"))


def test_off_by_default(home: Path) -> None:
    assert not vault.is_on()
    with pytest.raises(UsageError, match="off"):
        vault.keep(ROW, TEXT)
    assert not (home / "vault").exists()


def test_what_is_kept_can_be_read_with_a_reason(on: Path) -> None:
    vault.keep(ROW, TEXT, ("s1",))
    assert vault.read(ROW, "complaint 7") == TEXT
    last = list(audit.entries())[-1]
    assert (last.action, last.object, last.reason) == ("vault.read", ROW, "complaint 7")
    with pytest.raises(UsageError, match="reason"):
        vault.read(ROW, " ")
    with pytest.raises(UsageError, match="no such original"):
        vault.read(OTHER, "x")


def test_nothing_readable_is_written(on: Path) -> None:
    vault.keep(ROW, TEXT)
    assert not [p for p in on.rglob("*") if p.is_file() and b"anna" in p.read_bytes()]
    (file,) = sealed(on)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == stat.S_IMODE((on / "vault").stat().st_mode) == 0o700
    assert stat.S_IMODE((on / "keys" / "vault.key").stat().st_mode) == 0o600


def test_keeping_again_changes_nothing_and_prolongs_nothing(on: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert vault.keep_all([vault.Original(row_id=ROW, text=TEXT)] * 2) == 1
    before = sealed(on)
    monkeypatch.setenv("TUNELOOP_VAULT_DAYS", "300")
    assert vault.keep_all([vault.Original(row_id=ROW, text=TEXT, subjects=("late",))]) == 0
    assert sealed(on) == before
    assert vault.kept(subjects=["late"]) == {ROW}
    assert vault.expire(datetime.now(UTC) + timedelta(days=31)) == 1


def test_what_is_over_its_time_is_unreadable_before_it_is_purged(on: Path) -> None:
    vault.keep(ROW, TEXT)
    change(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(UsageError, match="no such original") as caught:
        vault.read(ROW, "x")
    assert caught.value.why == "its time is over"
    assert vault.keep_all([vault.Original(row_id=ROW, text=b"new")]) == 1
    assert vault.read(ROW, "x") == b"new"
    assert len(sealed(on)) == 1


def test_purging_takes_only_what_is_over(on: Path) -> None:
    vault.keep(ROW, TEXT)
    vault.keep(OTHER, TEXT)
    change(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert vault.expire() == 1
    assert vault.expire() == 0
    assert len(sealed(on)) == 1
    assert vault.read(OTHER, "x") == TEXT


def test_purging_removes_files_that_a_killed_attempt_left(on: Path) -> None:
    vault.keep(ROW, TEXT)
    (file,) = sealed(on)
    orphan = file.with_name(f"{'0' * 32}.sealed")
    shutil.copyfile(file, orphan)
    vault.expire()
    assert orphan.exists()
    long_ago = time.time() - 7200
    os.utime(orphan, (long_ago, long_ago))
    os.utime(file, (long_ago, long_ago))
    vault.expire()
    assert sealed(on) == [file]


@pytest.mark.parametrize("how", ["file", "short file", "no file", "key", "row", "expiry", "other key"])
def test_tampering_is_detected(on: Path, how: str) -> None:
    vault.keep(ROW, TEXT)
    vault.keep(OTHER, b"another")
    with state.engine().connect() as connection:
        rows = {r.row_id: r for r in connection.execute(sa.select(tables.vault_items))}
    file = on / "vault" / rows[ROW].item[:2] / f"{rows[ROW].item}.sealed"
    if how == "file":
        data = bytearray(file.read_bytes())
        data[20] ^= 1
        file.write_bytes(bytes(data))
    elif how == "short file":
        file.write_bytes(file.read_bytes()[:5])
    elif how == "no file":
        file.unlink()
    elif how == "key":
        change(wrapped_key="00" * 60)
    elif how == "row":
        change(item="f" * 32)
    elif how == "expiry":
        change(expires_at=datetime.now(UTC) + timedelta(days=3000))
    else:
        change(wrapped_key=rows[OTHER].wrapped_key)
    with pytest.raises(DataRefused, match="not what was kept"):
        vault.read(ROW, "x")
    assert vault.read(OTHER, "x") == b"another"


def test_another_key_of_the_vault_is_named(on: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELOOP_VAULT_KEY", "11" * 32)
    vault.keep(ROW, TEXT)
    assert vault.read(ROW, "x") == TEXT
    assert not (on / "keys" / "vault.key").exists()
    monkeypatch.setenv("TUNELOOP_VAULT_KEY", "22" * 32)
    with pytest.raises(EnvironmentUnusable, match="another key"):
        vault.read(ROW, "x")
    monkeypatch.setenv("TUNELOOP_VAULT_KEY", "22")
    with pytest.raises(EnvironmentUnusable, match="cannot be used"):
        vault.read(ROW, "x")


def test_persons_and_rows_can_be_forgotten(on: Path) -> None:
    vault.keep(ROW, TEXT, ("anna", "shared"))
    vault.keep(OTHER, TEXT, ("bob", "shared"))
    assert vault.forget(subjects=["anna"]) == 1
    assert vault.forget(subjects=["anna"]) == 0
    assert vault.read(OTHER, "x") == TEXT
    assert vault.forget(row_ids=[OTHER, "none"]) == 1
    assert sealed(on) == []
    assert [e.action for e in audit.entries() if e.action == "vault.forgotten"] == ["vault.forgotten"] * 2


def test_a_backup_of_the_files_is_noise_once_the_key_is_gone(on: Path, tmp_path: Path) -> None:
    vault.keep(ROW, TEXT)
    shutil.copytree(on / "vault", tmp_path / "backup")
    with state.engine().connect() as connection:
        wrapped = connection.scalar(sa.select(tables.vault_items.c.wrapped_key))
    vault.forget(row_ids=[ROW])
    state.scrub()
    shutil.rmtree(on / "vault")
    shutil.copytree(tmp_path / "backup", on / "vault")
    with pytest.raises(UsageError):
        vault.read(ROW, "x")
    assert not [p for p in on.rglob("*") if p.is_file() and str(wrapped).encode() in p.read_bytes()]
