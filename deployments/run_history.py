"""What Prefect's run history shows of datasets, and how it is taken out again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from deployments.embedded import prefect_server
from deployments.services.prefect_http import api_client
from tasks.errors import EnvironmentUnusable

DATABASE = Path("prefect") / "prefect.db"
_PAGE = 200
_TIMEOUT_SECONDS = 30.0


def forget_artifacts(home: Path, names: Sequence[str]) -> int:
    """Delete every artifact that has one of the names in its text or description; how many there were.

    Evaluations show rows and what models answered to them, drift reports words of requests. A home without a run
    history is left alone. Afterwards the database gives up the pages that held them.

    Raises:
        EnvironmentUnusable: another process has been reading the database for a long time.
    """
    if not names or not (home / DATABASE).is_file():
        return 0
    with prefect_server(home) as server, api_client(server.api_url) as client:
        found = [artifact["id"] for artifact in _artifacts(client) if _shows(artifact, names)]
        for artifact_id in found:
            client.delete(f"/artifacts/{artifact_id}").raise_for_status()
    with closing(sqlite3.connect(home / DATABASE, timeout=_TIMEOUT_SECONDS, isolation_level=None)) as connection:
        _forget_events(connection, names)
        connection.execute("VACUUM")
        (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise EnvironmentUnusable("what was deleted still lies in the run history's write-ahead file",
                                  where=f"{home / DATABASE}-wal", why="another process is reading the database",
                                  remedy="end the runs and `tuneloop down`, then repeat the command")  # fmt: skip
    return len(found)


def _forget_events(connection: sqlite3.Connection, names: Sequence[str]) -> None:
    """Delete the events that say that an artifact was made or deleted: they hold its text, and no interface of
    Prefect deletes an event before its time."""
    connection.execute("CREATE TEMP TABLE shown (id)")
    for name in names:
        connection.execute(
            "INSERT INTO shown SELECT id FROM events WHERE event LIKE 'prefect.artifact%' AND instr(payload, ?)", [name]
        )
    connection.execute("DELETE FROM event_resources WHERE event_id IN (SELECT id FROM shown)")
    connection.execute("DELETE FROM events WHERE id IN (SELECT id FROM shown)")


def _artifacts(client: httpx.Client) -> Iterator[dict[str, Any]]:
    """All artifacts, page by page."""
    offset = 0
    while True:
        body = {"limit": _PAGE, "offset": offset, "sort": "ID_DESC"}
        page = client.post("/artifacts/filter", json=body).raise_for_status().json()
        yield from page
        if len(page) < _PAGE:
            return
        offset += _PAGE


def _shows(artifact: dict[str, Any], names: Sequence[str]) -> bool:
    text = f"{artifact.get('description') or ''} {artifact.get('data') or ''}"
    return any(name in text for name in names)
