"""Shapes of the OpenAI API that the gateway speaks. What it cannot honour is refused, never ignored.

Clients also send parameters with the value that OpenAI takes without them. Such a value asks for nothing, so it is
accepted where any other value of the parameter is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from tasks.contracts import Message, Record

MAX_MESSAGES = 256
MAX_TEXT_CHARACTERS = 400_000


def _only(value: Any, shown: str) -> AfterValidator:
    """Accept the value that asks for nothing; refuse others without repeating them."""

    def check(given: Any) -> Any:
        if given != value:
            raise PydanticCustomError("cannot_be_honoured", "only {shown} can be honoured here", {"shown": shown})
        return given

    return AfterValidator(check)


_Zero = Annotated[float, _only(0, "0")]
_False = Annotated[bool, _only(False, "false")]
_Empty = Annotated[tuple[Any, ...], _only((), "[]")]


class TextPart(Record):
    """One part of a message; only text is understood."""

    type: Literal["text"]
    text: str = Field(max_length=MAX_TEXT_CHARACTERS)


class ChatMessage(Record):
    """One turn. The fields after `content` come with an answer that a client hands back as it got it."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, Field(max_length=MAX_TEXT_CHARACTERS)] | tuple[TextPart, ...]
    refusal: None = None
    audio: None = None
    function_call: None = None
    tool_calls: _Empty | None = None
    annotations: _Empty | None = None

    def as_message(self) -> Message:
        """The turn with its parts joined; `developer` is OpenAI's newer word for `system`."""
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return Message(role="system" if self.role == "developer" else self.role, content=content)


class StreamOptions(Record):
    """include_usage adds a last chunk with the token counts."""

    include_usage: bool = False


class Metadata(Record):
    """The only key that has an effect: which agent asks. It is kept with the logged request."""

    agent: str = Field("", max_length=64)


class ChatRequest(Record):
    """Body of POST /v1/chat/completions. null means: not given. Fields from `n` on take only what asks for nothing."""

    model_config = ConfigDict(strict=False)

    model: str = Field(max_length=200)
    messages: tuple[ChatMessage, ...] = Field(min_length=1, max_length=MAX_MESSAGES)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=0, lt=2**63)
    stop: str | tuple[str, ...] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = Field(None, max_length=256)
    metadata: Metadata | None = None
    n: Literal[1] | None = None
    frequency_penalty: _Zero | None = None
    presence_penalty: _Zero | None = None
    logit_bias: Annotated[dict[str, float], _only({}, "{}")] | None = None
    logprobs: _False | None = None
    top_logprobs: _Zero | None = None
    response_format: Annotated[dict[str, Any], _only({"type": "text"}, '{"type": "text"}')] | None = None
    tools: _Empty | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    store: _False | None = None
    service_tier: Literal["auto", "default"] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ChatRequest:
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise ValueError("max_tokens and max_completion_tokens differ; give one of them")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is only allowed with stream: true")
        if len(self.stops) > 4 or not all(self.stops):
            raise ValueError("stop takes up to 4 texts that are not empty")
        return self

    @property
    def turns(self) -> tuple[Message, ...]:
        return tuple(message.as_message() for message in self.messages)

    @property
    def limit(self) -> int | None:
        """Longest answer in tokens, as the client wants it."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @property
    def stops(self) -> tuple[str, ...]:
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else self.stop

    @property
    def heat(self) -> float:
        """Temperature: 0 (greedy) where none is given, other than OpenAI's 1.

        Greedy answers are what the evaluation measured and the gate let pass; structured answers suffer from
        sampling. A client that gives top_p without a temperature asks for sampling and gets OpenAI's 1.
        """
        if self.temperature is not None:
            return self.temperature
        return 0.0 if self.top_p is None else 1.0


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """Token counts of one answer."""
    total = prompt_tokens + completion_tokens
    return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": total}


def completion(head: dict[str, Any], text: str, finish_reason: str, counts: dict[str, int]) -> dict[str, Any]:
    """Body of a whole answer; `head` holds id, created, model and system_fingerprint."""
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    return {**head, "object": "chat.completion", "choices": [choice], "usage": counts}


def chunk(head: dict[str, Any], delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
    """One piece of a streamed answer."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return {**head, "object": "chat.completion.chunk", "choices": [choice]}


def usage_chunk(head: dict[str, Any], counts: dict[str, int]) -> dict[str, Any]:
    """The chunk after the last piece that stream_options.include_usage asks for."""
    return {**head, "object": "chat.completion.chunk", "choices": [], "usage": counts}


def model_card(model_id: str, created: int) -> dict[str, Any]:
    """Entry of /v1/models."""
    return {"id": model_id, "object": "model", "created": created, "owned_by": "tuneloop"}
