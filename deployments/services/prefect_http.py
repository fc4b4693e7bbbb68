"""Calls of a Prefect server over plain HTTP: Prefect's own client costs a second to import and raises at 404, 409."""

from __future__ import annotations

import time

import httpx

from deployments.services.health import certificates
from tasks.errors import EnvironmentUnusable

PAUSES_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 3.0, 3.0)
"""Between two tries, 12 seconds in all: what holds the database writes for milliseconds."""


def api_client(url: str, timeout_seconds: float = 30.0) -> httpx.Client:
    """A client of the API at a URL. An answer that the server is busy is no answer: it asks again.

    Where two requests write to its SQLite database at once, Prefect undoes one and answers it with 503; its own clients
    ask again too. Nothing was changed by then, so that every kind of request may be repeated.

    Raises:
        EnvironmentUnusable: on a call, the server stays busy.
    """
    return httpx.Client(base_url=url, timeout=timeout_seconds, transport=_AskingAgain(), trust_env=False)


class _AskingAgain(httpx.HTTPTransport):
    """Without proxies and certificates of the environment: the server is on this machine or was named."""

    def __init__(self) -> None:
        super().__init__(trust_env=False, verify=certificates())

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        for pause in (*PAUSES_SECONDS, None):
            response = super().handle_request(request)
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                return response
            response.close()
            if pause is not None:
                time.sleep(pause)
        raise EnvironmentUnusable(
            "the Prefect server is too busy", where=str(request.url),
            why=f"it has answered {len(PAUSES_SECONDS) + 1} times with 503, as it does while its database is locked",
            remedy="repeat the command when fewer runs report to it at once",
        )  # fmt: skip
