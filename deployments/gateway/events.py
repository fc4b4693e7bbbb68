"""/api/v1/events: takes signed events of trainers on other machines into the logs of this home."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool

from deployments.gateway.errors import ApiError
from tasks.adapters.run_events import EventLog, RunEvent, parsed_events
from tasks.adapters.run_events_http import MAX_BODY_BYTES, PATH, Doorkeeper, events_key


def add_events(app: FastAPI, home: Path) -> None:
    """Add the route. Its key is made when there is none; see docs/runs.md for how a trainer gets it."""
    doorkeeper = Doorkeeper(events_key(make=True))

    @app.post(PATH)
    async def events(request: Request) -> dict[str, Any]:
        """Needs no bearer key: every request is signed. The answer says how many were new and which are missing."""
        body = await _limited(request)
        refused = doorkeeper.refusal(request.headers, body)
        if refused:
            raise ApiError(refused.status, refused.why, refused.code)
        try:
            told = parsed_events(body)
        except ValueError:
            raise ApiError(400, "The body is no JSON list of events.", "invalid_events") from None
        return await run_in_threadpool(keep, home, told)


async def _limited(request: Request) -> bytes:
    """The body, read no further than it may be long."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise ApiError(413, f"The body is larger than {MAX_BODY_BYTES} bytes.", "request_too_large")
    return bytes(body)


def keep(home: Path, told: Sequence[RunEvent]) -> dict[str, Any]:
    """Write events into the logs of their trainings; what is there already is not written again."""
    new, missing = 0, {}
    for run in dict.fromkeys(event.run for event in told):
        log = EventLog.of(home, run)
        new += log.append(event for event in told if event.run == run)
        missing[run] = log.gaps()
    return {"received": len(told), "new": new, "missing": missing}
