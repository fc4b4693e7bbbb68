from __future__ import annotations

import base64
import datetime
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.sources.sql import json_value, single_select
from tasks.errors import EnvironmentUnusable, UsageError
from tests.tasks.adapters.sources.databases import PASSWORD, Database, mariadb, postgres, wait_until
from tests.tasks.adapters.sources.syncing import killed_when, records, start_sync, synced

QUERY = "SELECT id, question, answer FROM tickets WHERE status = 'closed' ORDER BY id;"


@pytest.fixture(scope="module")
def pg() -> Iterator[Database]:
    with postgres() as database:
        yield database


@pytest.fixture(scope="module")
def maria() -> Iterator[Database]:
    with mariadb() as database:
        yield database


@pytest.fixture(autouse=True)
def _surroundings(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELOOP_SECRET_DB", PASSWORD)


def fill(database: Database, rows: int = 2_500) -> None:
    database.run("DROP TABLE IF EXISTS tickets")
    database.run(
        "CREATE TABLE tickets (id integer PRIMARY KEY, question text, answer text, status varchar(20), at timestamp)"
    )
    values = ", ".join(f"({n}, 'how {n}%?', 'so {n}', 'closed', '2026-01-01 00:00:00')" for n in range(rows))
    database.run(f"INSERT INTO tickets VALUES {values}".replace("%", "%%"))


def source(database: Database, query: str = QUERY, **fields: Any) -> dict[str, Any]:
    return {"path": database.url, "query": query, "key": "id", "credentials": "TUNELOOP_SECRET_DB", **fields}


def counted(found: Any) -> dict[str, int]:
    (counts,) = found.changes.records.values()
    return dict(counts.model_dump())


def syncs_twice_and_counts(database: Database, base: Path) -> None:
    fill(database)
    first = synced(base, source(database))
    assert counted(first) == {"added": 2500, "changed": 0, "removed": 0, "unchanged": 0}
    assert PASSWORD not in first.model_dump_json()
    second = synced(base, source(database))
    assert counted(second) == {"added": 0, "changed": 0, "removed": 0, "unchanged": 2500}
    assert second.documents[0].digest == first.documents[0].digest
    rows = records(second.documents[0])
    assert sorted(row["id"] for row in rows) == list(range(2500))
    assert rows[0] == {"answer": "so 0", "id": 0, "question": "how 0%?"}
    database.run("UPDATE tickets SET answer = 'other' WHERE id < 7")
    database.run("DELETE FROM tickets WHERE id >= 2495")
    database.run("INSERT INTO tickets VALUES (9000, 'q', 'a', 'closed', '2026-01-01'), (9001, 'q', 'a', 'open', NULL)")
    assert counted(synced(base, source(database))) == {"added": 1, "changed": 7, "removed": 5, "unchanged": 2488}


@pytest.mark.acceptance
def test_postgres_syncs_twice_and_counts(pg: Database, tmp_path: Path) -> None:
    syncs_twice_and_counts(pg, tmp_path)


def test_mariadb_syncs_twice_and_counts(maria: Database, tmp_path: Path) -> None:
    syncs_twice_and_counts(maria, tmp_path)


@pytest.mark.acceptance
def test_a_killed_sync_of_postgres_changes_nothing(pg: Database, tmp_path: Path, home: Path) -> None:
    """The query waits for a lock after its first 1,000 rows; the child is killed there."""
    fill(pg)
    synced(tmp_path, source(pg))
    pg.run("INSERT INTO tickets VALUES (9000, 'q', 'a', 'closed', '2026-01-01')")
    gate = "CASE WHEN id = 2000 THEN pg_advisory_xact_lock_shared(42)::text END AS gate"
    held = source(pg, f"SELECT id, {gate} FROM tickets ORDER BY id")
    with pg.admin.connect() as holder:
        holder.exec_driver_sql("SELECT pg_advisory_lock(42)")
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        killed_when(start_sync(tmp_path, [source(pg), held]), lambda: pg.scalar(waiting) == 1)
        assert list((home / "work" / "spool").iterdir())
        holder.exec_driver_sql("SELECT pg_advisory_unlock(42)")
    wait_until(lambda: pg.scalar(waiting) == 0)
    found = synced(tmp_path, source(pg), held)
    assert [c.added for c in found.changes.records.values()] == [0, 2501]  # the first source was finished before
    assert counted(synced(tmp_path, source(pg)))["unchanged"] == 2501
    assert not list((home / "work" / "spool").iterdir())


@pytest.mark.acceptance
def test_a_database_that_says_that_nothing_changed_is_not_read(pg: Database, tmp_path: Path) -> None:
    fill(pg, 50)
    query = "SELECT id, answer, at FROM tickets"
    tracked = source(pg, query, updated="at")
    assert len(synced(tmp_path, tracked).read) == 1
    second = synced(tmp_path, tracked)
    assert (second.read, len(second.changes.unchanged)) == ((), 1)
    assert len(records(second.documents[0])) == 50
    pg.run("UPDATE tickets SET answer = 'new', at = '2026-02-01' WHERE id = 3")
    assert counted(synced(tmp_path, tracked)) == {"added": 0, "changed": 1, "removed": 0, "unchanged": 49}


def test_records_that_changed_without_moving_the_cursor_are_noticed_when_they_are_read(
    pg: Database, tmp_path: Path
) -> None:
    fill(pg, 50)
    tracked = source(pg, "SELECT id, answer, at FROM tickets", updated="at")
    synced(tmp_path, tracked)
    pg.run("UPDATE tickets SET answer = 'new' WHERE id = 3")
    document = synced(tmp_path, tracked).documents[0]
    with pytest.raises(EnvironmentUnusable, match="changed while it was read"):
        records(document)
    assert counted(synced(tmp_path, tracked))["changed"] == 1


@pytest.mark.acceptance
def test_nothing_is_written_to_the_database(pg: Database, tmp_path: Path) -> None:
    fill(pg, 5)
    pg.run(
        "CREATE OR REPLACE FUNCTION wipe() RETURNS integer LANGUAGE plpgsql AS "
        "$$ BEGIN DELETE FROM tickets; RETURN 1; END $$"
    )
    with pytest.raises(EnvironmentUnusable) as error:
        synced(tmp_path, source(pg, "SELECT 1 AS id, wipe()"))
    assert "25006" in error.value.why  # read_only_sql_transaction
    assert pg.scalar("SELECT count(*) FROM tickets") == 5


def test_mariadb_lets_nothing_be_written(maria: Database, tmp_path: Path) -> None:
    fill(maria, 5)
    maria.run("DROP FUNCTION IF EXISTS wipe")
    maria.run("CREATE FUNCTION wipe() RETURNS integer BEGIN DELETE FROM tickets; RETURN 1; END")
    with pytest.raises(EnvironmentUnusable):
        synced(tmp_path, source(maria, "SELECT 1 AS id, wipe() AS w"))
    assert maria.scalar("SELECT count(*) FROM tickets") == 5


@pytest.mark.parametrize("seconds", [0.2])
def test_a_statement_has_limited_time(pg: Database, maria: Database, tmp_path: Path, seconds: float) -> None:
    for database, sleep in ((pg, "pg_sleep(10)::text"), (maria, "sleep(10)")):
        with pytest.raises(EnvironmentUnusable, match="does not answer the query"):
            synced(tmp_path, source(database, f"SELECT 1 AS id, {sleep} AS s", timeout_seconds=seconds))


def test_errors_of_a_database_hold_no_values(pg: Database, tmp_path: Path) -> None:
    fill(pg, 5)
    with pytest.raises(EnvironmentUnusable) as error:
        synced(tmp_path, source(pg, "SELECT id, CAST('anna@example.com' AS integer) FROM tickets"))
    assert "anna" not in str(error.value)
    assert "22P02" in error.value.why


def test_a_wrong_password_is_said_without_it(pg: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELOOP_SECRET_DB", "wrong-password")
    with pytest.raises(EnvironmentUnusable) as error:
        synced(tmp_path, source(pg))
    assert "wrong-password" not in str(error.value)


def test_types_of_postgres_become_json(pg: Database, tmp_path: Path) -> None:
    query = """SELECT 1 AS id, 1.50::numeric AS price, '2026-01-02'::date AS day, '{"a": [1, null]}'::jsonb AS doc,
        ARRAY['x', 'y'] AS tags, '\\x00ff'::bytea AS blob, 'NaN'::float8 AS ratio, NULL AS nothing, true AS yes,
        '00000000-0000-0000-0000-000000000001'::uuid AS uid, '10:30'::text AS "time : colon" """
    (row,) = records(synced(tmp_path, source(pg, query)).documents[0])
    assert row == {
        "id": 1, "price": "1.50", "day": "2026-01-02", "doc": {"a": [1, None]}, "tags": ["x", "y"], "blob": "AP8=",
        "ratio": "nan", "nothing": None, "yes": True, "uid": "00000000-0000-0000-0000-000000000001",
        "time : colon": "10:30",
    }  # fmt: skip


def test_a_percent_sign_is_a_percent_sign(pg: Database, maria: Database, tmp_path: Path) -> None:
    for database in (pg, maria):
        fill(database, 20)
        query = "SELECT id, at FROM tickets WHERE question LIKE '%1\\%%' AND question NOT LIKE '%s'"
        found = synced(tmp_path, source(database, query, updated="at"))
        assert [row["id"] for row in records(found.documents[0])] == [1, 11]


def test_a_statement_may_begin_with_a_comment_or_with(pg: Database, tmp_path: Path) -> None:
    fill(pg, 20)
    query = "-- all of them\nWITH t AS (SELECT id FROM tickets) SELECT * FROM t"
    assert len(records(synced(tmp_path, source(pg, query)).documents[0])) == 20


def test_neither_secrets_nor_values_stay_in_the_home(pg: Database, tmp_path: Path, home: Path) -> None:
    query = "SELECT 'anna@example.com' AS id, 'Anna lives here' AS answer"
    document = synced(tmp_path, source(pg, query)).documents[0]
    assert records(document) == [{"id": "anna@example.com", "answer": "Anna lives here"}]
    kept = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert document.digest.encode() in kept
    for value in (PASSWORD, "anna@example.com", "Anna lives here"):
        assert value.encode() not in kept


def test_two_columns_of_one_name_are_refused(pg: Database, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="same name"):
        synced(tmp_path, source(pg, "SELECT 1 AS id, 2 AS id"))


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM tickets", "SELECT 1; DROP TABLE tickets", "SELECT 1; SELECT 2", "", ";", "UPDATE t SET a = 1",
        "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", "SELECT * INTO copy FROM t", "COPY t TO '/tmp/x'",
        "SELECT * FROM t INTO OUTFILE '/tmp/x'", "SET ROLE admin", "EXPLAIN ANALYZE SELECT 1", "DO $$ BEGIN END $$",
        "SELECT 1; COMMIT; DROP TABLE t --",
    ],
)  # fmt: skip
def test_anything_but_one_select_is_refused(statement: str) -> None:
    with pytest.raises(UsageError, match="not one SELECT"):
        single_select(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1", "select a from t where b = 'x; drop table y' ;", "WITH x AS (SELECT 1 AS a) SELECT * FROM x",
        "-- what is closed\nSELECT a FROM t", "SELECT a, 'DELETE' AS b FROM t /* ; */",
        "SELECT updated_at, \"delete\" FROM t",
    ],
)  # fmt: skip
def test_one_select_is_let_through(statement: str) -> None:
    assert single_select(statement)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Decimal("3"), "3"),
        (datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), "2026-01-02T00:00:00+00:00"),
        (datetime.timedelta(hours=1), "1:00:00"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (memoryview(b"ab"), base64.b64encode(b"ab").decode()),
        ({"a": (1, Decimal("2.0"))}, {"a": [1, "2.0"]}),
        (float("inf"), "inf"),
    ],
)
def test_values_become_json(value: object, expected: object) -> None:
    assert json_value(value) == expected
