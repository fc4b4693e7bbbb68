"""Flow runs as Prefect knows them: asked from the server that runs, else read from the database of this home.

Starting a server takes seconds, and looking at runs should not: where none runs, its database is read. A test has both
ways give the same.
"""

from __future__ import annotations

import datetime
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from deployments.embedded import running_server
from deployments.run_history import DATABASE
from deployments.services.prefect_http import api_client
from tasks.contracts import Record

_PAGE = 200
_TIMEOUT_SECONDS = 30.0


class FlowRun(Record):
    """One run of a flow."""

    id: str
    flow: str
    name: str
    state_type: str | None
    state_name: str
    message: str
    created: datetime.datetime
    started: datetime.datetime | None
    ended: datetime.datetime | None
    parameters: dict[str, Any]
    submitted: bool
    parent_task_run: str | None

    @property
    def order(self) -> tuple[datetime.datetime, str]:
        return self.created, self.id


class LogLine(Record):
    """One line that a flow or a task logged."""

    at: datetime.datetime
    level: int
    message: str


class History(Protocol):
    """Where flow runs are looked up."""

    def runs(self) -> list[FlowRun]:
        """Every run, subflows included, the newest first."""
        ...

    def tasks_at_work(self, runs: Sequence[str]) -> list[str]:
        """Names of the tasks of these runs that are running."""
        ...

    def parents(self, task_runs: Sequence[str]) -> dict[str, str]:
        """Task run → the flow run it belongs to."""
        ...

    def logs(self, runs: Sequence[str]) -> list[LogLine]:
        """What these runs logged, in order."""
        ...


def open_history(home: Path) -> History:
    """The server that PREFECT_API_URL names or that `tuneloop up` runs, else the database of this home."""
    found = running_server(home)
    return ServerHistory(found.api_url) if found else DatabaseHistory(home / DATABASE)


class ServerHistory:
    """Runs from a Prefect server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def runs(self) -> list[FlowRun]:
        flows = {flow["id"]: flow["name"] for flow in self._pages("/flows/filter", {})}
        found = self._pages("/flow_runs/filter", {"sort": "START_TIME_DESC"})
        return sorted((_of_server(run, flows) for run in found), key=lambda run: run.order, reverse=True)

    def tasks_at_work(self, runs: Sequence[str]) -> list[str]:
        wanted = {"flow_run_id": {"any_": list(runs)}, "state": {"type": {"any_": ["RUNNING"]}}}
        found = list(self._pages("/task_runs/filter", {"task_runs": wanted}))
        return [_plain_name(task["task_key"]) for task in sorted(found, key=lambda t: t["start_time"] or "")]

    def parents(self, task_runs: Sequence[str]) -> dict[str, str]:
        wanted = {"task_runs": {"id": {"any_": list(task_runs)}}}
        found = self._pages("/task_runs/filter", wanted) if task_runs else ()
        return {task["id"]: task["flow_run_id"] for task in found if task["flow_run_id"]}

    def logs(self, runs: Sequence[str]) -> list[LogLine]:
        wanted = {"logs": {"flow_run_id": {"any_": list(runs)}}, "sort": "TIMESTAMP_ASC"}
        return [
            LogLine(at=_time(line["timestamp"]), level=line["level"], message=line["message"])
            for line in self._pages("/logs/filter", wanted)
        ]

    def _pages(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        offset = 0
        with api_client(self.url) as client:
            while True:
                asked = {**body, "limit": _PAGE, "offset": offset}
                page = client.post(path, json=asked).raise_for_status().json()
                yield from page
                if len(page) < _PAGE:
                    return
                offset += _PAGE


def _of_server(run: dict[str, Any], flows: dict[str, str]) -> FlowRun:
    state = run.get("state") or {}
    return FlowRun(
        id=run["id"],
        flow=flows.get(run["flow_id"], ""),
        name=run["name"],
        state_type=run.get("state_type"),
        state_name=run.get("state_name") or "",
        message=state.get("message") or "",
        created=_time(run["created"]),
        started=_time(run["start_time"]) if run.get("start_time") else None,
        ended=_time(run["end_time"]) if run.get("end_time") else None,
        parameters=run.get("parameters") or {},
        submitted=bool(run.get("deployment_id")),
        parent_task_run=run.get("parent_task_run_id"),
    )


class DatabaseHistory:
    """Runs from Prefect's SQLite database, read-only. A home without one has no runs."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def runs(self) -> list[FlowRun]:
        query = (
            "SELECT r.id, f.name AS flow, r.name, r.state_type, r.state_name, s.message, r.created, r.start_time,"
            " r.end_time, r.parameters, r.deployment_id, r.parent_task_run_id"
            " FROM flow_run r JOIN flow f ON f.id = r.flow_id LEFT JOIN flow_run_state s ON s.id = r.state_id"
        )
        return sorted((_of_row(row) for row in self._rows(query)), key=lambda run: run.order, reverse=True)

    def tasks_at_work(self, runs: Sequence[str]) -> list[str]:
        query = (
            "SELECT task_key FROM task_run WHERE state_type = 'RUNNING'"
            " AND flow_run_id IN (SELECT value FROM json_each(?)) ORDER BY start_time"
        )
        return [_plain_name(row["task_key"]) for row in self._rows(query, runs)]

    def parents(self, task_runs: Sequence[str]) -> dict[str, str]:
        query = (
            "SELECT id, flow_run_id FROM task_run"
            " WHERE flow_run_id IS NOT NULL AND id IN (SELECT value FROM json_each(?))"
        )
        return {row["id"]: row["flow_run_id"] for row in self._rows(query, task_runs)}

    def logs(self, runs: Sequence[str]) -> list[LogLine]:
        query = (
            "SELECT timestamp, level, message FROM log"
            " WHERE flow_run_id IN (SELECT value FROM json_each(?)) ORDER BY timestamp"
        )
        return [
            LogLine(at=_time(row["timestamp"]), level=row["level"], message=row["message"])
            for row in self._rows(query, runs)
        ]

    def _rows(self, query: str, ids: Sequence[str] | None = None) -> list[sqlite3.Row]:
        if not self.file.is_file():
            return []
        with closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True, timeout=_TIMEOUT_SECONDS)) as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(query, () if ids is None else (json.dumps(list(ids)),)).fetchall()


def _of_row(row: sqlite3.Row) -> FlowRun:
    return FlowRun(
        id=row["id"],
        flow=row["flow"],
        name=row["name"],
        state_type=row["state_type"],
        state_name=row["state_name"] or "",
        message=row["message"] or "",
        created=_time(row["created"]),
        started=_time(row["start_time"]) if row["start_time"] else None,
        ended=_time(row["end_time"]) if row["end_time"] else None,
        parameters=json.loads(row["parameters"] or "{}"),
        submitted=bool(row["deployment_id"]),
        parent_task_run=row["parent_task_run_id"],
    )


def _plain_name(task_key: str) -> str:
    """`train-1a2b3c4d` → `train`: the name of a task's function, without the digest of its source file."""
    return task_key.rpartition("-")[0] or task_key


def _time(text: str) -> datetime.datetime:
    at = datetime.datetime.fromisoformat(text)
    return at.replace(tzinfo=at.tzinfo or datetime.UTC)
