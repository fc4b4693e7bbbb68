"""A busy Prefect server is asked again, over real HTTP; every other answer is passed on as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import pytest

from deployments.services import prefect_http
from deployments.services.prefect_http import api_client
from tasks.errors import EnvironmentUnusable

BUSY = 503


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect_http, "PAUSES_SECONDS", (0.01, 0.01, 0.01))


@contextmanager
def server(*statuses: int) -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers in turn, the last status for ever; its address and the bodies it has received."""
    received: list[bytes] = []
    left = list(statuses)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            status = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            self.send_header("Content-Length", "13")
            self.end_headers()
            self.wfile.write(b'{"id": "one"}')

        def log_message(self, *_: object) -> None:
            """Tests are quiet."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_address[1]}/api", received
    finally:
        listening.shutdown()
        listening.server_close()


def test_what_is_asked_again_is_the_whole_request() -> None:
    with server(BUSY, BUSY, 201) as (url, received), api_client(url) as client:
        answer = client.post("/flow_runs", json={"parameters": {"number": 7}})
    assert (answer.status_code, answer.json()) == (201, {"id": "one"})
    assert [json.loads(body) for body in received] == [{"parameters": {"number": 7}}] * 3


def test_a_server_that_stays_busy_is_a_coded_error() -> None:
    with server(BUSY) as (url, received), api_client(url) as client:
        with pytest.raises(EnvironmentUnusable, match="too busy") as caught:
            client.post("/flow_runs", json={})
        assert caught.value.where == f"{url}/flow_runs"
    assert len(received) == 4


@pytest.mark.parametrize("status", [200, 404, 409, 500])
def test_other_answers_are_not_repeated(status: int) -> None:
    with server(status, 200) as (url, received), api_client(url) as client:
        assert client.post("/flow_runs", json={}).status_code == status
    assert len(received) == 1


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with server(200) as (url, _), api_client(url) as client:
        assert client.post("/flow_runs", json={}).status_code == httpx.codes.OK
