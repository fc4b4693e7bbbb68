"""Asking a server whether it is there, many times a second while it starts."""

from __future__ import annotations

import functools
import ssl

import httpx


@functools.lru_cache(maxsize=1)
def certificates() -> ssl.SSLContext:
    """What https addresses are checked against. Loading it takes ten times as long as a request: once is enough."""
    return httpx.create_ssl_context(trust_env=False)


def ask(url: str, timeout_seconds: float) -> httpx.Response:
    """The answer to GET, without proxies and certificates of the environment.

    Raises:
        httpx.HTTPError: no answer.
        httpx.InvalidURL: it is no address.
    """
    return httpx.get(url, timeout=timeout_seconds, trust_env=False, verify=certificates())
