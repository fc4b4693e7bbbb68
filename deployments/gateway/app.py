"""The OpenAI-compatible server: /v1/models, /v1/chat/completions, /health; /api/v1/events for trainers elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from deployments.gateway.auth import require_key
from deployments.gateway.chat import Conversation, prepare
from deployments.gateway.errors import ApiError, handle_errors
from deployments.gateway.events import add_events
from deployments.gateway.generation import Generation
from deployments.gateway.limits import BodyLimit
from deployments.gateway.models import ModelHolder
from deployments.gateway.schemas import ChatRequest, model_card
from tasks.settings import Settings


def make_app(holder: ModelHolder, generation: Generation, *, request_log: bool = True) -> FastAPI:
    """The application; it starts and stops the two threads with itself.

    Args:
        request_log: whether answers are logged; off only for the smoke call before a release.
    """

    @contextlib.asynccontextmanager
    async def running(_app: FastAPI) -> AsyncIterator[None]:
        holder.start()
        generation.start()
        yield
        holder.stop()
        generation.stop()

    app = FastAPI(title="Tuneloop gateway", lifespan=running, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(BodyLimit)
    handle_errors(app)
    add_events(app, Settings().root)
    _add_health(app, holder)
    _add_models(app, holder)
    _add_chat(app, holder, generation, request_log)
    return app


def _add_health(app: FastAPI, holder: ModelHolder) -> None:
    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Needs no key. `status`: serving, loading, no_champion or failed (with `error`)."""
        return holder.status()


def _add_models(app: FastAPI, holder: ModelHolder) -> None:
    @app.get("/v1/models", dependencies=[Depends(require_key)])
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [model_card(*entry) for entry in holder.listed()]}

    @app.get("/v1/models/{model_id}", dependencies=[Depends(require_key)])
    async def model(model_id: str) -> dict[str, Any]:
        return model_card(model_id, holder.get(model_id).since)


def _add_chat(app: FastAPI, holder: ModelHolder, generation: Generation, logged: bool) -> None:
    @app.post("/v1/chat/completions", dependencies=[Depends(require_key)])
    async def chat(body: ChatRequest, request: Request) -> Any:
        prepared = await run_in_threadpool(prepare, body, holder.get(body.model))
        conversation = Conversation(prepared, generation, logged=logged)
        if body.stream:
            headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
            return StreamingResponse(conversation.events(), media_type="text/event-stream", headers=headers)
        return await conversation.whole(request)

    @app.api_route("/v1/{_rest:path}", methods=["GET", "POST", "PUT", "DELETE"], dependencies=[Depends(require_key)])
    async def elsewhere(_rest: str) -> None:
        raise ApiError(404, "This gateway serves /v1/models and /v1/chat/completions.", "unknown_url")
