from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.sources.egress import Network
from tasks.errors import EnvironmentUnusable, UsageError
from tests.tasks.adapters.sources.certificates import make_certificate
from tests.tasks.adapters.sources.syncing import content, synced
from tests.tasks.adapters.sources.web_server import Asked, Reply, WebServer, web_server

PUBLIC = "93.184.216.34"
BODY = b'{"prompt": "a", "completion": "b"}\n'


@pytest.fixture(autouse=True)
def _home(home: Path) -> None:
    """Every test has a register of its own."""


def source(server: WebServer | str, path: str = "/a.jsonl", **http: Any) -> dict[str, Any]:
    url = server if isinstance(server, str) else server.url
    return {"path": url + path, "http": {"allow_private": True, "retries": 3, **http}}


def in_turn(*replies: Reply) -> Callable[[Asked], Reply]:
    """The replies one after the other; the last one for ever."""
    waiting = list(replies)
    return lambda _asked: waiting.pop(0) if len(waiting) > 1 else waiting[0]


def public(server: WebServer, *addresses: str) -> Network:
    """Every name has a public address at first, which is the server, then the given ones."""
    answers = [PUBLIC, *addresses]
    lock = threading.Lock()

    def resolve(_host: str, _port: int) -> list[str]:
        with lock:
            return [answers.pop(0) if len(answers) > 1 else answers[0]]

    return Network(resolve, lambda address, port: ("127.0.0.1", server.port) if address == PUBLIC else (address, port))


def redirect(to: str) -> Reply:
    return Reply(302, b"", {"Location": to})


def test_a_document_is_read_once_and_copied_when_it_is_used(tmp_path: Path) -> None:
    def route(asked: Asked) -> Reply:
        same = asked.headers.get("If-None-Match") == '"v1"'
        return Reply(304 if same else 200, b"" if same else BODY, {"ETag": '"v1"'})

    with web_server(route) as server:
        first = synced(tmp_path, source(server))
        second = synced(tmp_path, source(server))
        assert (first.changes.added, first.read) == ((f"{server.url}/a.jsonl",),) * 2
        assert (second.changes.unchanged, second.read) == ((f"{server.url}/a.jsonl",), ())
        assert [asked.headers.get("If-None-Match") for asked in server.asked] == [None, '"v1"']
        assert content(second.documents[0]) == BODY
        assert not list((tmp_path / "home" / "work" / "spool").iterdir())


def test_without_an_etag_or_with_a_weak_one_it_is_read_again(tmp_path: Path) -> None:
    for etag in ({}, {"ETag": 'W/"v1"'}):
        with web_server(lambda _asked, etag=etag: Reply(200, BODY, etag)) as server:
            synced(tmp_path, source(server))
            found = synced(tmp_path, source(server))
            assert (len(found.read), found.changes.changed) == (1, ())


def test_a_document_that_changed_after_the_sync_is_refused_and_read_again(tmp_path: Path) -> None:
    replies = in_turn(Reply(200, BODY, {"ETag": '"v1"'}), Reply(200, BODY * 2, {"ETag": '"v1"'}))
    with web_server(replies) as server:
        document = synced(tmp_path, source(server)).documents[0]
        with pytest.raises(EnvironmentUnusable, match="changed while it was read"):
            content(document)
        found = synced(tmp_path, source(server))  # the ETag lied: it is not believed a second time
        assert found.changes.changed == (f"{server.url}/a.jsonl",)
        assert content(found.documents[0]) == BODY * 2


def test_busy_servers_are_asked_again(tmp_path: Path) -> None:
    with web_server(in_turn(Reply(500), Reply(503), Reply(429, b"", {"Retry-After": "0"}), Reply(200, BODY))) as server:
        assert content(synced(tmp_path, source(server)).documents[0]) == BODY
        assert len(server.asked) == 5


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured(tmp_path: Path, as_date: bool) -> None:
    def busy(asked: Asked) -> Reply:
        if len(server.asked) > 1:
            return Reply(200, BODY)
        value = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True) if as_date else "1"
        return Reply(429, b"", {"Retry-After": value})

    with web_server(busy) as server:
        begin = time.monotonic()
        synced(tmp_path, source(server))
        assert time.monotonic() - begin >= (0.9 if as_date else 1)


def test_repetition_ends(tmp_path: Path) -> None:
    with web_server(in_turn(Reply(503))) as server:
        with pytest.raises(EnvironmentUnusable, match="does not answer") as error:
            synced(tmp_path, source(server, retries=2))
        assert "503, 3 times" in error.value.why
        assert len(server.asked) == 3


def test_a_connection_that_breaks_in_the_middle_is_repeated(tmp_path: Path) -> None:
    cut = Reply(200, BODY, {"Content-Length": str(len(BODY) + 10)})
    with web_server(in_turn(cut, Reply(200, BODY))) as server:
        assert content(synced(tmp_path, source(server, timeout_seconds=0.5)).documents[0]) == BODY


def test_what_repetition_does_not_change_is_said_at_once(tmp_path: Path) -> None:
    with web_server(in_turn(Reply(404))) as server:
        with pytest.raises(UsageError, match="answers 404"):
            synced(tmp_path, source(server, "/gone.jsonl?customer=anna"))
        assert len(server.asked) == 1


def test_an_answer_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with web_server(in_turn(Reply(200, b"x" * 200_000))) as server, pytest.raises(UsageError) as error:
        synced(tmp_path, source(server, max_megabytes=0.1))
    assert "larger than 0.1 MB" in error.value.why


def test_the_secret_goes_to_its_own_server_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELOOP_SECRET_API", "Bearer abc")
    with web_server(in_turn(Reply(200, BODY))) as other:

        def route(asked: Asked) -> Reply:
            return redirect("/b.jsonl") if asked.path == "/a.jsonl" else redirect(f"{other.url}/c.jsonl")

        with web_server(route) as server:
            synced(tmp_path, {**source(server, header="X-Key"), "credentials": "TUNELOOP_SECRET_API"})
            assert [asked.headers.get("X-Key") for asked in server.asked] == ["Bearer abc", "Bearer abc"]
            assert [asked.headers.get("X-Key") for asked in other.asked] == [None]


def test_a_secret_that_is_not_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not set") as error:
        synced(tmp_path, {"path": "https://e.com/a.csv", "credentials": "TUNELOOP_SECRET_NONE"})
    assert error.value.where == "TUNELOOP_SECRET_NONE"


def test_an_address_without_a_known_ending_needs_a_name(tmp_path: Path) -> None:
    with web_server(in_turn(Reply(200, BODY))) as server:
        with pytest.raises(UsageError, match="what kind of file"):
            synced(tmp_path, source(server, "/export"))
        assert synced(tmp_path, source(server, "/export", name="a.jsonl")).documents[0].name == "a.jsonl"


def test_this_machine_is_not_asked_unless_allowed(tmp_path: Path) -> None:
    with web_server(in_turn(Reply(200, BODY))) as server:
        for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0x7f000001"):
            with pytest.raises(UsageError, match="may not be asked"):
                synced(tmp_path, f"http://{host}:{server.port}/a.jsonl")
        assert server.asked == []


@pytest.mark.acceptance
@pytest.mark.parametrize(
    "to",
    [
        "http://169.254.169.254/latest/meta-data/a.jsonl", "http://localhost:{port}/secret.jsonl",
        "http://127.0.0.1:{port}/secret.jsonl", "http://[::1]:{port}/secret.jsonl",
        "http://[::ffff:127.0.0.1]:{port}/secret.jsonl", "http://[fe80::1]/a.jsonl", "http://[fd00:ec2::254]/a.jsonl",
        "http://0.0.0.0:{port}/secret.jsonl", "http://2130706433:{port}/secret.jsonl", "//10.0.0.1/a.jsonl",
        "http://[64:ff9b::a9fe:a9fe]/a.jsonl", "file:///etc/passwd", "ftp://example.com/a.jsonl",
    ],
)  # fmt: skip
def test_redirects_to_forbidden_addresses_are_not_followed(tmp_path: Path, to: str) -> None:
    with web_server(lambda _asked: redirect(to.format(port=server.port))) as server:
        network = public(server)
        real = Network(
            lambda host, port: (
                network.resolve(host, port) if host == "api.example.com" else Network().resolve(host, port)
            ),
            network.dial,
        )
        with pytest.raises(UsageError):
            synced(tmp_path, "http://api.example.com/a.jsonl", network=real)
        assert server.paths() == ["/a.jsonl"]


@pytest.mark.acceptance
@pytest.mark.parametrize("second", ["127.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1"])
def test_a_name_that_resolves_differently_the_second_time_gains_nothing(tmp_path: Path, second: str) -> None:
    """The server redirects to itself and closes the connection: the second one is checked anew, and refused."""
    reply = Reply(302, b"", {"Location": "/b.jsonl", "Connection": "close"})
    with web_server(lambda _asked: reply) as server, pytest.raises(UsageError, match="may not be asked"):
        synced(tmp_path, "http://api.example.com/a.jsonl", network=public(server, second))
    assert server.paths() == ["/a.jsonl"]


@pytest.mark.acceptance
def test_the_connection_goes_to_the_address_that_was_checked(tmp_path: Path) -> None:
    dialled: list[str] = []
    asked: list[str] = []
    with web_server(in_turn(Reply(200, BODY))) as server:

        def resolve(host: str, _port: int) -> list[str]:
            asked.append(host)
            return [PUBLIC] if len(asked) == 1 else ["127.0.0.1"]

        def dial(address: str, _port: int) -> tuple[str, int]:
            dialled.append(address)
            return "127.0.0.1", server.port

        synced(tmp_path, "http://api.example.com/a.jsonl", network=Network(resolve, dial))
        assert server.asked[0].headers["Host"] == "api.example.com"
    assert (asked, dialled) == (["api.example.com"], [PUBLIC])  # one question to the resolver for one connection


def test_tls_verifies_the_name_and_does_not_lead_back_to_plain_http(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path / "server.pem", "api.example.com")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with web_server(in_turn(Reply(200, BODY), redirect("http://api.example.com/b.jsonl")), certificate) as server:
        synced(tmp_path, "https://api.example.com/a.jsonl", network=public(server))
        with pytest.raises(UsageError) as error:
            synced(tmp_path, "https://api.example.com/a.jsonl", network=public(server))
        assert "unencrypted" in error.value.why
        other = {"path": "https://other.example.com/a.jsonl", "http": {"retries": 0}}
        with pytest.raises(EnvironmentUnusable, match="does not answer"):
            synced(tmp_path, other, network=public(server))
        assert len(server.asked) == 2


def test_a_proxy_of_the_environment_does_not_lead_around_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with web_server(in_turn(Reply(200, BODY))) as server:
        monkeypatch.setenv("HTTP_PROXY", server.url)
        monkeypatch.setenv("ALL_PROXY", server.url)
        with pytest.raises(UsageError, match="may not be asked"):
            synced(tmp_path, "http://10.0.0.1/a.jsonl")
        assert server.asked == []
