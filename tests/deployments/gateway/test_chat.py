"""Chat completions over real HTTP with the real openai client."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tasks.adapters import registry, request_log
from tasks.contracts import Message
from tasks.tokens import encode_prompt, load_tokenizer
from tests.deployments.gateway.conftest import Running
from tests.tiny_release import NAME

ASK: Any = [{"role": "user", "content": "where is my bike"}]


def test_models_are_listed_by_name_and_version(serving: Running) -> None:
    client = serving.client()
    assert [model.id for model in client.models.list()] == [NAME, f"{NAME}@1"]
    assert client.models.retrieve(NAME).owned_by == "tuneloop"


def test_an_answer_is_what_the_engine_says(serving: Running, tiny_model: Path) -> None:
    from tasks.inference.engine import Engine

    answer = serving.client().chat.completions.create(model=NAME, messages=ASK, max_tokens=12)
    served = registry.served(NAME, "champion")
    assert served is not None
    engine = Engine.load(served.base, Path(served.adapter_path), served.quantization)
    prompt = [Message(**turn) for turn in ASK]
    assert answer.choices[0].message.content == engine.generate([prompt], 12, 1)[0]
    assert answer.choices[0].finish_reason == "length"
    assert answer.model == f"{NAME}@1"
    assert answer.system_fingerprint == f"fp_{served.adapter_digest[:12]}"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(encode_prompt(load_tokenizer(tiny_model), prompt))
    assert answer.usage.completion_tokens == 12


def test_a_streamed_answer_is_the_same_text(serving: Running) -> None:
    client = serving.client()
    whole = client.chat.completions.create(model=f"{NAME}@1", messages=ASK, max_tokens=12)
    stream = client.chat.completions.create(
        model=NAME, messages=ASK, max_tokens=12, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert len({c.id for c in chunks}) == 1


def test_parts_seed_stop_and_sampling(serving: Running) -> None:
    client = serving.client()
    parts: Any = [
        {"role": "user", "content": [{"type": "text", "text": "where is"}, {"type": "text", "text": " my bike"}]}
    ]
    greedy = client.chat.completions.create(model=NAME, messages=ASK, max_tokens=12).choices[0].message.content
    assert (
        client.chat.completions.create(model=NAME, messages=parts, max_tokens=12).choices[0].message.content == greedy
    )

    def sampled(seed: int) -> str | None:
        options: Any = {"temperature": 1.5, "top_p": 0.9, "seed": seed, "max_completion_tokens": 12}
        return client.chat.completions.create(model=NAME, messages=ASK, **options).choices[0].message.content

    assert sampled(3) == sampled(3)
    assert len({sampled(seed) for seed in range(4)}) > 1
    text = sampled(3) or ""
    options: Any = {"temperature": 1.5, "top_p": 0.9, "seed": 3, "max_tokens": 12, "stop": [text[4:6]]}
    stopped = client.chat.completions.create(model=NAME, messages=ASK, **options).choices[0]
    assert stopped.message.content == text[: text.index(text[4:6])]
    assert stopped.finish_reason == "stop"


def test_wrong_and_missing_keys_get_401(serving: Running) -> None:
    with pytest.raises(openai.AuthenticationError) as wrong:
        serving.client(api_key="tl-wrong").chat.completions.create(model=NAME, messages=ASK)
    assert wrong.value.code == "invalid_api_key"
    for path in ("/v1/models", "/v1/models/x", "/v1/files"):
        assert httpx.get(serving.url + path).status_code == 401
    assert httpx.post(f"{serving.url}/v1/chat/completions", json={}).status_code == 401
    basic = {"Authorization": f"Basic {serving.key}"}
    assert httpx.get(f"{serving.url}/v1/models", headers=basic).status_code == 401


def test_unknown_models_and_urls_get_404(serving: Running) -> None:
    for model in ("gpt-4", f"{NAME}@2", f"{NAME}@", f"{NAME}@champion"):
        with pytest.raises(openai.NotFoundError) as unknown:
            serving.client().chat.completions.create(model=model, messages=ASK)
        assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError) as elsewhere:
        serving.client().embeddings.create(model=NAME, input="x")
    assert elsewhere.value.code == "unknown_url"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"presence_penalty": -1}, "presence_penalty"),
        ({"logit_bias": {"50256": -100}}, "logit_bias"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"store": True}, "store"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
        ({"functions": []}, "functions"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": True}, "logprobs"),
        ({"temprature": 1}, "temprature"),
        ({"metadata": {"agent": "a", "other": "b"}}, "metadata.other"),
        ({"n": 2}, "n"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "x", "name": "ann"}]}, None),
        ({"messages": [{"role": "tool", "content": "x"}]}, None),
        ({"max_tokens": 3, "max_completion_tokens": 4}, None),
        ({"stream_options": {"include_usage": True}}, None),
        ({"stop": ["a", "b", "c", "d", "e"]}, None),
        ({"stop": ""}, None),
    ],
)
def test_what_cannot_be_honoured_is_refused(serving: Running, change: dict[str, Any], param: str | None) -> None:
    response = serving.post({"model": NAME, "messages": ASK, **change})
    error = response.json()["error"]
    assert response.status_code == 400, error
    assert error["type"] == "invalid_request_error"
    assert error["code"] in ("unsupported_parameter", "invalid_value")
    if param:
        assert error["param"] == param


def test_null_means_not_given(serving: Running) -> None:
    nothing = dict.fromkeys(
        ("temperature", "top_p", "seed", "stop", "stream", "user", "n", "metadata", "stream_options")
    )
    assert serving.post({"model": NAME, "messages": ASK, "max_tokens": 2, **nothing}).status_code == 200


def test_what_asks_for_nothing_is_accepted(serving: Running) -> None:
    plain = {"model": NAME, "messages": ASK, "max_tokens": 4}
    neutral = {
        "frequency_penalty": 0,
        "presence_penalty": 0.0,
        "logit_bias": {},
        "logprobs": False,
        "top_logprobs": 0,
        "response_format": {"type": "text"},
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "store": False,
        "service_tier": "auto",
        "n": 1,
        "metadata": {},
    }
    answers = [serving.post({**plain, **more}) for more in ({}, neutral, dict.fromkeys(neutral))]
    assert [answer.status_code for answer in answers] == [200, 200, 200], answers[1].text
    assert len({answer.json()["choices"][0]["message"]["content"] for answer in answers}) == 1


def test_developer_is_another_word_for_system(serving: Running) -> None:
    texts = set()
    for role in ("system", "developer"):
        answer = serving.post(
            {"model": NAME, "messages": [{"role": role, "content": "be brief"}, *ASK], "max_tokens": 4}
        )
        logged = {request.id: request for request in request_log.recent(NAME, 1)}[answer.json()["id"]]
        assert logged.prompt[0].role == "system"
        texts.add(logged.answer)
    assert len(texts) == 1


def test_an_answer_can_be_handed_back_as_it_came(serving: Running) -> None:
    create = serving.client().chat.completions.create
    came: Any = create(model=NAME, messages=ASK, max_tokens=3).choices[0].message
    assert create(model=NAME, messages=[*ASK, came, *ASK], max_tokens=3).choices
    called = {"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]}
    refused = serving.post({"model": NAME, "messages": [*ASK, called, *ASK]})
    assert refused.status_code == 400
    assert "tool_calls" in refused.json()["error"]["param"]


def test_errors_repeat_nothing_of_the_request(serving: Running) -> None:
    secret = "ann@example.com"
    response = serving.post({"model": NAME, "messages": [{"role": "user", "content": {"x": secret}}], secret: 1})
    assert response.status_code == 400
    invalid = serving.post({"model": NAME, "messages": [{"role": secret, "content": "x"}]})
    assert secret not in invalid.text


def test_bodies_that_are_too_large_or_no_json(serving: Running) -> None:
    large = serving.post({"model": NAME, "messages": [{"role": "user", "content": "x" * (1 << 20)}]})
    assert (large.status_code, large.json()["error"]["code"]) == (413, "request_too_large")
    headers = {"Authorization": f"Bearer {serving.key}", "Content-Type": "application/json"}
    broken = httpx.post(f"{serving.url}/v1/chat/completions", content=b"{", headers=headers)
    assert (broken.status_code, broken.json()["error"]["code"]) == (400, "invalid_value")

    def pieces() -> Any:
        for _ in range(20):
            yield b" " * (1 << 16)

    unannounced = httpx.post(f"{serving.url}/v1/chat/completions", content=pieces(), headers=headers)
    assert (unannounced.status_code, unannounced.json()["error"]["code"]) == (413, "request_too_large")


def test_a_conversation_beyond_the_context_is_refused(serving: Running) -> None:
    with pytest.raises(openai.BadRequestError) as long:
        serving.client().chat.completions.create(model=NAME, messages=[{"role": "user", "content": "ž" * 2100}])
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as wide:
        serving.client().chat.completions.create(model=NAME, messages=ASK, max_tokens=2047)
    assert wide.value.code == "context_length_exceeded"


def test_the_request_log_holds_no_personal_data(serving: Running) -> None:
    client, address = serving.client(), "ann.smith@example.com"
    answer = client.chat.completions.create(
        model=NAME,
        messages=[{"role": "user", "content": f"write to {address} or +44 20 7946 0958"}],
        max_tokens=4,
        user=address,
        metadata={"agent": "desk"},
    )
    logged = {request.id: request for request in request_log.recent(NAME, 1)}[answer.id]
    assert "<EMAIL_ADDRESS>" in logged.prompt[0].content
    assert logged.agent == "desk"
    assert logged.user == request_log.user_hash(address)
    assert answer.usage is not None
    assert (logged.prompt_tokens, logged.completion_tokens) == (answer.usage.prompt_tokens, 4)
    holding = [p for p in serving.home.rglob("*") if p.is_file() and address.encode() in p.read_bytes()]
    assert holding == []


def test_streamed_answers_are_logged_too(serving: Running) -> None:
    chunks = list(serving.client().chat.completions.create(model=NAME, messages=ASK, max_tokens=3, stream=True))
    logged = {request.id: request for request in request_log.recent(NAME, 1)}[chunks[0].id]
    assert logged.answer == "".join(c.choices[0].delta.content or "" for c in chunks)


def test_answers_at_the_same_time_are_made_in_turn(serving: Running) -> None:
    answers = list[str | None]()

    def ask() -> None:
        reply = serving.client().chat.completions.create(model=NAME, messages=ASK, max_tokens=8)
        answers.append(reply.choices[0].message.content)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert len(set(answers)) == 1


def test_a_client_that_leaves_frees_the_gateway(serving: Running) -> None:
    body = {"model": NAME, "messages": ASK, "max_tokens": 1900, "stream": True, "temperature": 1, "seed": 1}
    headers = {"Authorization": f"Bearer {serving.key}"}
    with httpx.stream("POST", f"{serving.url}/v1/chat/completions", json=body, headers=headers) as response:
        first = next(response.iter_lines())
    assert json.loads(first.removeprefix("data: "))["choices"][0]["delta"]["role"] == "assistant"
    answer = serving.client(timeout=8).chat.completions.create(model=NAME, messages=ASK, max_tokens=2)
    assert answer.usage is not None
