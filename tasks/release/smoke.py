"""The smoke call: a few held-out prompts, asked of the candidate's own server over HTTP, before the alias moves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError

from tasks.adapters.candidate_server import Reply
from tasks.adapters.json_lines import read_records
from tasks.chat_template import uses_tools
from tasks.contracts import Message, Record, Row

Ask = Callable[[Sequence[Message]], Reply]
CountTokens = Callable[[Sequence[Message]], int]


class _Answer(Record, extra="ignore"):
    content: str


class _Choice(Record, extra="ignore"):
    message: _Answer


class _Usage(Record, extra="ignore"):
    prompt_tokens: int


class _Completion(Record, extra="ignore"):
    model: str
    choices: tuple[_Choice, ...]
    usage: _Usage


def pick_prompts(test_file: Path, rows: int) -> tuple[tuple[Message, ...], ...]:
    """Prompts of up to `rows` held-out rows, evenly spread over the file; without tools, which the server refuses."""
    asked = [row for row in read_records(test_file, Row) if not uses_tools(row.messages, row.tools)]
    count = min(rows, len(asked))
    return tuple(asked[index * len(asked) // count].prompt for index in range(count))


def problems(prompts: Iterable[Sequence[Message]], ask: Ask, count_tokens: CountTokens, model_id: str) -> list[str]:
    """What is wrong with the answers, in words; empty when every call went as it should.

    A prompt is counted here with the tokens of training: the server must have seen exactly as many.
    """
    found, number = [], 0
    for number, prompt in enumerate(prompts, start=1):
        reply = ask(prompt)
        complaint = _complaint(reply, count_tokens(prompt), model_id)
        if complaint:
            found.append(f"prompt {number}: {complaint}")
    return found if number else ["every held-out row has tools, which the server does not take: nothing could be asked"]


def _complaint(reply: Reply, tokens: int, model_id: str) -> str:
    if reply.status != 200:
        return f"HTTP {reply.status} {_error_code(reply.body)}".rstrip()
    try:
        answer = _Completion.model_validate_json(reply.body)
    except ValidationError as error:
        return f"not a chat completion: {error.error_count()} fields are wrong"
    if answer.model != model_id:
        return f"answered by {answer.model}, not by {model_id}"
    if answer.usage.prompt_tokens != tokens:
        return f"the server saw {answer.usage.prompt_tokens} prompt tokens; in training they are {tokens}"
    if not answer.choices or not answer.choices[0].message.content.strip():
        return "the answer is empty"
    return ""


def _error_code(body: str) -> str:
    try:
        return str(json.loads(body)["error"]["code"] or "")
    except (ValueError, KeyError, TypeError):
        return ""
