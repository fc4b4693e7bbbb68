"""The embedded Prefect server: records a run completely, without noise, beside others, and ends with its process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.embedded import PrefectEndpoint, prefect_server
from deployments.services.launch import child_environment
from tasks.adapters.processes import end_leftovers, is_alive

SCRIPT = Path(__file__).with_name("embedded_run.py")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for this module: its database is made once."""
    return tmp_path_factory.mktemp("home")


class Run:
    """A process that holds an embedded server and is in the middle of its flow."""

    def __init__(self, home: Path, mode: str = "hold", **environment: str) -> None:
        inherited = {k: v for k, v in child_environment(home).items() if k != "PREFECT_API_URL"}
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(home), mode], env={**inherited, **environment}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def endpoint(self) -> PrefectEndpoint:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()
        return PrefectEndpoint.model_validate_json(line)

    def finish(self) -> str:
        """Let the flow go on to its end; everything that the process printed after its endpoint."""
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err
        return out + err


@contextlib.contextmanager
def run(home: Path, mode: str = "hold", **environment: str) -> Iterator[Run]:
    made = Run(home, mode, **environment)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.communicate()


def servers(home: Path) -> list[tuple[int, float]]:
    notes = [json.loads(p.read_text()) for p in (home / "processes").glob("*.json")]
    return [(n["pid"], n["started"]) for n in notes if n["name"] == "embedded Prefect server"]


def recorded(home: Path) -> dict[str, int]:
    """How many runs the database holds in which state."""
    with contextlib.closing(sqlite3.connect(home / "prefect" / "prefect.db")) as database:
        rows = [
            (f"{table} {state}", count)
            for table in ("flow_run", "task_run")
            for state, count in database.execute(f"SELECT state_type, count(*) FROM {table} GROUP BY 1")
        ]
    return dict(rows)


def wait_until_gone(process: tuple[int, float], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while is_alive(*process):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.long
def test_two_runs_at_once_have_a_server_each_and_lose_nothing(shared: Path) -> None:
    """In a fresh home: the two also meet in the migration of the database. The first one ends first."""
    with run(shared) as first, run(shared) as second:
        endpoints = [first.endpoint(), second.endpoint()]
        assert endpoints[0].api_url != endpoints[1].api_url
        assert [(e.embedded, e.ui_url) for e in endpoints] == [(True, None), (True, None)]
        printed = first.finish() + second.finish()
    assert "Traceback" not in printed
    assert "rror" not in printed
    assert recorded(shared) == {"flow_run COMPLETED": 2, "task_run COMPLETED": 6}
    assert servers(shared) == []
    assert "Traceback" not in (shared / "logs" / "prefect.log").read_text()


def test_a_killed_run_takes_its_server_with_it(shared: Path) -> None:
    with run(shared) as killed:
        killed.endpoint()
        (server,) = servers(shared)
        killed.process.kill()
        wait_until_gone(server)
    assert end_leftovers(shared) == []
    assert servers(shared) == []


def test_a_server_that_answers_is_used_a_dead_address_is_told_and_ctrl_c_is_quiet(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run(shared, PREFECT_API_URL="http://127.0.0.1:9/api") as other:
        theirs = other.endpoint()
        assert theirs.embedded
        monkeypatch.setenv("PREFECT_API_URL", theirs.api_url)
        with prefect_server(shared) as endpoint:
            ui_url = theirs.api_url.removesuffix("/api")
            assert endpoint == PrefectEndpoint(api_url=theirs.api_url, ui_url=ui_url, embedded=False)
            assert os.environ["PREFECT_HOME"] == str(shared / "prefect")
        assert os.environ["PREFECT_API_URL"] == theirs.api_url
        (server,) = servers(shared)
        os.kill(other.process.pid, signal.SIGINT)
        _, err = other.process.communicate(timeout=60)
        wait_until_gone(server, seconds=1)
    assert "PREFECT_API_URL names http://127.0.0.1:9/api, which does not answer" in err
    assert "task_run_recorder" not in err
    assert servers(shared) == []
