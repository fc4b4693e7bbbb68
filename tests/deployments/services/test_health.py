from __future__ import annotations

import functools
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from deployments.services import health


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Address of a server of an empty folder."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(SimpleHTTPRequestHandler, directory=tmp_path)) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()


def test_certificates_are_loaded_once_for_any_number_of_questions(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[dict[str, Any]] = []
    load = httpx.create_ssl_context

    def counted(**options: Any) -> Any:
        loaded.append(options)
        return load(**options)

    monkeypatch.setattr(httpx, "create_ssl_context", counted)
    health.certificates.cache_clear()
    answers = [health.ask(f"{url}{path}", timeout_seconds=5.0).status_code for path in ("/", "/not-there")]
    assert answers == [200, 404]
    assert loaded == [{"trust_env": False}]


def test_proxies_of_the_environment_are_not_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert health.ask(url, timeout_seconds=5.0).status_code == httpx.codes.OK


def test_no_answer_is_an_error_of_the_client() -> None:
    with pytest.raises(httpx.HTTPError):
        health.ask("http://127.0.0.1:9", timeout_seconds=2.0)
