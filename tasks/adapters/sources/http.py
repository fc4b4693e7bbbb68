"""Documents over HTTP: patient with busy servers, strict about where a request goes."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import httpcore
import httpx

from tasks.adapters.sources.connector import Fingerprint, Item, Known, Listing, same_as
from tasks.adapters.sources.egress import Network, checked_addresses
from tasks.adapters.sources.secret import secret
from tasks.adapters.sources.spec import HttpOptions, SourceSpec, shown_url
from tasks.adapters.sources.spool import temporary_file
from tasks.digest import digest_file
from tasks.errors import EnvironmentUnusable, UsageError

_REDIRECTS = 5
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 60.0
_BUSY = {429, 500, 502, 503, 504}
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Answer:
    """What a server said; the body went into the file that was given."""

    status: int
    url: str
    etag: str
    next_link: str

    @property
    def unchanged(self) -> bool:
        return self.status == httpx.codes.NOT_MODIFIED


class _TryAgain(Exception):
    """The server is busy or the connection broke."""

    def __init__(self, why: str, after_seconds: float | None = None) -> None:
        super().__init__(why)
        self.after_seconds = after_seconds


class Client:
    """Asks the addresses of one source.

    Environment proxies are not used: the connection goes to the address that was checked.
    """

    def __init__(self, spec: SourceSpec, network: Network) -> None:
        self._options = spec.http or HttpOptions()
        self._start, self._secret = httpx.URL(spec.path), secret(spec.credentials)
        transport = _Transport(network, self._options.allow_private)
        self._http = httpx.Client(transport=transport, trust_env=False, timeout=self._options.timeout_seconds)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def fetch(self, url: str, target: BinaryIO, etag: str = "", max_megabytes: float | None = None) -> Answer:
        """Write the body of `url` to `target`; with `etag` only if it is another version.

        Raises:
            UsageError: an address that may not be asked, an answer that repetition does not change.
            EnvironmentUnusable: the server did not answer within the number of retries.
        """
        limit = int(min(max_megabytes or self._options.max_megabytes, self._options.max_megabytes) * 1e6)
        for attempt in range(self._options.retries + 1):
            target.seek(0)
            target.truncate()
            try:
                return self._follow(httpx.URL(url), target, etag, limit)
            except _TryAgain as trouble:
                if attempt == self._options.retries:
                    raise _no_answer(url, attempt + 1, str(trouble)) from trouble
                time.sleep(_pause(attempt, trouble.after_seconds))
        raise AssertionError("the last attempt answers or raises")

    def _follow(self, url: httpx.URL, target: BinaryIO, etag: str, limit: int) -> Answer:
        for _ in range(_REDIRECTS + 1):
            self._allowed(url)
            try:
                with self._http.stream("GET", url, headers=self._headers(url, etag)) as response:
                    if not response.has_redirect_location:
                        return _received(response, target, limit)
                    url = response.url.join(response.headers["location"])
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
                raise _refused(str(url), "the server leads to something that is no web address") from error
            except (httpx.HTTPError, httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
                raise _TryAgain(type(error).__name__) from error
        raise _refused(str(url), f"more than {_REDIRECTS} redirects")

    def _allowed(self, url: httpx.URL) -> None:
        if url.scheme not in _PORTS or not url.host:
            raise _refused(str(url), "only http and https are followed")
        if self._start.scheme == "https" and url.scheme == "http":
            raise _refused(str(url), "it leads from https to unencrypted http")

    def _headers(self, url: httpx.URL, etag: str) -> dict[str, str]:
        headers = {"User-Agent": "tuneloop", "Accept-Encoding": "identity"}
        if etag:
            headers["If-None-Match"] = etag
        if self._secret and _origin(url) == _origin(self._start):
            headers[self._options.header] = self._secret
        return headers


class HttpDocument:
    """The one document that an address answers with."""

    def __init__(self, spec: SourceSpec, network: Network, suffixes: Sequence[str]) -> None:
        self._spec, self._network, self._suffixes = spec, network, tuple(suffixes)

    def listing(self) -> Listing:
        name = (self._spec.http.name if self._spec.http else "") or PurePosixPath(httpx.URL(self._spec.path).path).name
        shown = shown_url(self._spec.path)
        if not name.lower().endswith(self._suffixes):
            raise UsageError(
                "the address does not say what kind of file it answers with",
                where=shown,
                why=f"'{name}' does not end in one of {', '.join(self._suffixes)}",
                remedy="give the file name with data.sources[].http.name, or say where its records are with http.items",
            )
        return Listing((Item(uri=shown, address=self._spec.path, name=name, explicit=True),))

    def fingerprint(self, item: Item, known: Known | None) -> Fingerprint:
        with temporary_file(item.name) as copy, Client(self._spec, self._network) as client, copy.open("r+b") as stream:
            answer = client.fetch(item.address, stream, known.token if known and known.present else "")
            if answer.unchanged and known:
                return same_as(known)
            stream.flush()
            return Fingerprint(answer.etag, digest_file(copy), copy.stat().st_size)

    def copy(self, address: str, target: Path) -> None:
        with Client(self._spec, self._network) as client, target.open("w+b") as stream:
            client.fetch(address, stream)


class _Transport(httpx.BaseTransport):
    """httpx over a connection pool whose connections go to checked addresses."""

    def __init__(self, network: Network, allow_private: bool) -> None:
        backend = _Backend(network, allow_private)
        self._pool = httpcore.ConnectionPool(ssl_context=httpx.create_ssl_context(), network_backend=backend)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        answer = self._pool.handle_request(
            httpcore.Request(request.method, target, headers=request.headers.raw, extensions=request.extensions)
        )
        assert isinstance(answer.stream, Iterable)
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer), extensions=answer.extensions)

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


class _Backend(httpcore.NetworkBackend):
    """Resolves, checks, and connects to what was checked."""

    def __init__(self, network: Network, allow_private: bool) -> None:
        self._network, self._allow_private, self._sockets = network, allow_private, httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            addresses = checked_addresses(host, port, self._network.resolve, self._allow_private)
        except OSError as error:
            raise httpcore.ConnectError("the name of the host is not known") from error
        for address in addresses[:-1]:
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return self._dial(address, port, timeout, local_address, socket_options)
        return self._dial(addresses[-1], port, timeout, local_address, socket_options)

    def _dial(
        self,
        address: str,
        port: int,
        timeout: float | None,
        local_address: str | None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None,
    ) -> httpcore.NetworkStream:
        return self._sockets.connect_tcp(*self._network.dial(address, port), timeout, local_address, socket_options)

    def connect_unix_socket(self, path: str, *_: object, **__: object) -> httpcore.NetworkStream:
        raise _refused(path, "it is no address of the network")

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def _received(response: httpx.Response, target: BinaryIO, limit: int) -> Answer:
    if response.status_code in _BUSY:
        raise _TryAgain(f"it answers {response.status_code}", _retry_after(response.headers.get("retry-after", "")))
    unchanged = response.status_code == httpx.codes.NOT_MODIFIED and "if-none-match" in response.request.headers
    if response.status_code != httpx.codes.OK and not unchanged:
        raise UsageError(
            f"the source answers {response.status_code}",
            where=shown_url(str(response.url)),
            why=response.reason_phrase,
            remedy="correct data.sources[].path, or credentials and http.header",
        )
    size = 0
    for piece in response.iter_bytes():
        size += len(piece)
        if size > limit:
            raise _refused(str(response.url), f"the answer is larger than {limit / 1e6:g} MB")
        target.write(piece)
    etag = response.headers.get("etag", "")
    strong = etag if etag.startswith('"') else ""  # a weak one stays the same where bytes differ
    return Answer(response.status_code, str(response.url), strong, response.links.get("next", {}).get("url", ""))


def _retry_after(value: str) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date."""
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _pause(attempt: int, after_seconds: float | None) -> float:
    """How long to wait: as long as the server asks for, else twice as long each time, spread by chance."""
    wanted = _FIRST_PAUSE_SECONDS * 2**attempt * random.uniform(0.5, 1) if after_seconds is None else after_seconds
    return min(wanted, _LONGEST_PAUSE_SECONDS)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or _PORTS.get(url.scheme)


def _refused(url: str, why: str) -> UsageError:
    return UsageError(
        "the source leads to something that is not read",
        where=shown_url(url),
        why=why,
        remedy="correct data.sources[].path, or the limits in data.sources[].http",
    )


def _no_answer(url: str, attempts: int, why: str) -> EnvironmentUnusable:
    return EnvironmentUnusable(
        "the source does not answer",
        where=shown_url(url),
        why=f"{why}, {attempts} times",
        remedy="try again later, or give it more time with data.sources[].http.retries and timeout_seconds",
    )
