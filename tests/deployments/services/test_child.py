"""A service that says itself whether it is ready."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.services.child import START_SECONDS, Child
from deployments.services.ports import free_port
from deployments.services.spec import Service

_SERVER = """
import http.server, pathlib, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(pathlib.Path(sys.argv[2]).read_bytes())
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def said(home: Path) -> Path:
    """The file with what the service says about itself."""
    file = home / "said.json"
    file.write_text('{"status": "loading"}', encoding="utf-8")
    return file


@pytest.fixture
def child(home: Path, said: Path) -> Iterator[Child]:
    port = free_port()
    service = Service(
        name="gateway", command=(sys.executable, "-c", _SERVER, str(port), str(said)), environment={},
        health_url=f"http://127.0.0.1:{port}/health", log=str(home / "logs" / "gateway.log"),
        ready_states={"serving": "", "no_champion": "nothing has been promoted yet"},
    )  # fmt: skip
    made = Child(service, home)
    yield made
    made.stop()


def tick_until(child: Child, phase: str, reason: str) -> None:
    deadline = time.monotonic() + 15
    while (child.phase, child.reason) != (phase, reason):
        assert time.monotonic() < deadline, (child.phase, child.reason)
        child.tick(set())
        time.sleep(0.05)


def test_loading_is_not_ready_yet(child: Child, said: Path) -> None:
    tick_until(child, "starting", "loading")
    said.write_text('{"status": "serving", "error": null}', encoding="utf-8")
    tick_until(child, "healthy", "")


def test_a_model_that_is_loaded_for_long_is_waited_for(child: Child, said: Path) -> None:
    tick_until(child, "starting", "loading")
    process = child.process
    for _ in range(2):
        child._began -= 10 * START_SECONDS  # the test does not wait that long
        child.tick(set())
        assert (child.phase, child.restarts, child.process) == ("starting", 0, process)
    said.write_text("<!doctype html>", encoding="utf-8")
    child.tick(set())
    assert (child.phase, child.restarts) == ("starting", 0)
    child._began -= 10 * START_SECONDS
    child.tick(set())
    assert (child.phase, child.restarts) == ("restarting", 1)


def test_ready_without_a_model_says_so(child: Child, said: Path) -> None:
    said.write_text('{"status": "no_champion", "error": null}', encoding="utf-8")
    tick_until(child, "healthy", "nothing has been promoted yet")


def test_a_service_that_cannot_work_is_not_healthy_and_gives_its_reason(child: Child, said: Path) -> None:
    said.write_text('{"status": "failed", "error": "the adapter is damaged"}', encoding="utf-8")
    tick_until(child, "unhealthy", "failed the adapter is damaged")


@pytest.mark.parametrize(
    "text", ["<!doctype html><title>Grafana</title>", '["status"]', '{"status": []}', '{"health": "ok"}', '"up"',
             '{"status": "ok"}', "\xff", "[" * 100_000],
)  # fmt: skip
def test_somebody_elses_answer_on_the_port_is_not_ready(child: Child, said: Path, text: str) -> None:
    said.write_text(text, encoding="latin-1")
    tick_until(child, "starting", f"{child.service.health_url} does not answer as a gateway of ours")


def test_somebody_elses_answer_in_the_place_of_ours_is_unhealthy(child: Child, said: Path) -> None:
    said.write_text('{"status": "serving", "error": null}', encoding="utf-8")
    tick_until(child, "healthy", "")
    said.write_text("<!doctype html>", encoding="utf-8")
    child._next_probe = 0  # the test does not wait for the next look
    tick_until(child, "unhealthy", f"{child.service.health_url} does not answer as a gateway of ours")
