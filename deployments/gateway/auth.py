"""Bearer keys: every /v1 call needs one that the state database knows."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header

from deployments.gateway.errors import ApiError
from tasks.adapters import api_keys

_SCHEME = "bearer "


def require_key(authorization: Annotated[str | None, Header()] = None) -> None:
    """Refuse a call without a known key. Runs in a worker thread: it reads the database."""
    if authorization is None or not authorization.lower().startswith(_SCHEME):
        raise _unauthorised("You didn't provide an API key: send 'Authorization: Bearer KEY'.")
    if not api_keys.verify(authorization[len(_SCHEME) :].strip()):
        raise _unauthorised("Incorrect API key provided.")


def _unauthorised(message: str) -> ApiError:
    return ApiError(401, message, "invalid_api_key")
