"""Batched answers are the answers one by one; losses are those of the whole model; streams are the same text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tasks.adapters.base_models import resolve
from tasks.contracts import Message
from tasks.inference.engine import Engine
from tasks.inference.streaming import Finished
from tasks.inference.weights import linear_layers
from tasks.tokens import encode_example, encode_prompt
from tests.tiny_model import make_tiny_model

LONG = "Answer with one JSON object. The allowed intents are delivery, billing, fault, account, cancel. " * 2


def user(text: str) -> Message:
    return Message(role="user", content=text)


def assistant(text: str) -> Message:
    return Message(role="assistant", content=text)


@pytest.fixture(scope="module")
def engine(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """In fp32, so that the size of a batch cannot decide a tie; with weights so large that the context matters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNELOOP_MODELS_DIR", str(tmp_path_factory.mktemp("cache")))
        made = Engine.load(resolve(str(tiny_model)), None, "nf4")
    made.model.float()
    torch.manual_seed(4)
    made._head.weight = torch.nn.Parameter(torch.randn_like(made._head.weight), requires_grad=False)
    for _, layer in linear_layers(made.model):
        torch.nn.init.normal_(layer.weight, std=0.3)
    return made


def reference(engine: Engine, prompt: list[Message], tokens: int) -> str:
    """The plain way: the whole sequence again for every token, without cache, batch or padding."""
    ids = encode_prompt(engine.tokenizer, prompt)
    start = len(ids)
    for _ in range(tokens):
        logits = engine.model(input_ids=torch.tensor([ids])).logits[0, -1]
        ids.append(int(logits.argmax()))
        if ids[-1] == 2:
            break
    return str(engine.tokenizer.decode([i for i in ids[start:] if i != 2], skip_special_tokens=True))


PROMPTS = [[user("Where is my bike?")], [user("Hi")], [user("What is the capital of France? " * 4)], [user("x y z")]]
SHARED = [[Message(role="system", content=LONG), *prompt] for prompt in PROMPTS]


@pytest.mark.parametrize("prompts", [PROMPTS, SHARED])
@pytest.mark.parametrize("batch_rows", [1, 3, 8])
def test_batches_answer_like_one_by_one(engine: Engine, prompts: list[list[Message]], batch_rows: int) -> None:
    said: list[tuple[int, int]] = []
    answers = engine.generate(prompts, 12, batch_rows, lambda done, total: said.append((done, total)))
    assert answers == [reference(engine, prompt, 12) for prompt in prompts]
    assert said[-1] == (4, 4)


def test_rows_that_end_leave_the_batch(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a token as the stop token that the rows make at different steps, or never."""
    rows = [encode_prompt(engine.tokenizer, prompt) for prompt in PROMPTS * 2]
    endless = [engine._greedy([row], None, 0, 20)[0] for row in rows]
    monkeypatch.setattr(engine, "_stop", endless[0][3])
    expected = [made[: made.index(endless[0][3]) + 1] if endless[0][3] in made else made for made in endless]
    assert len({len(made) for made in expected}) > 1
    assert engine._greedy(rows, None, 0, 20) == expected


@pytest.mark.parametrize("prompts", [PROMPTS, SHARED])
def test_losses_are_those_of_the_whole_model(engine: Engine, prompts: list[list[Message]]) -> None:
    examples = [[*prompt, assistant("We will ring" * (i + 1))] for i, prompt in enumerate(prompts)]
    found = engine.answer_losses(examples, 3)
    for example, (loss, count) in zip(examples, found, strict=True):
        encoded = encode_example(engine.tokenizer, example)
        logits = engine.model(input_ids=torch.tensor([encoded.input_ids])).logits[0, :-1].float()
        targets = torch.tensor(encoded.input_ids[1:])
        learned = torch.tensor(encoded.learned[1:])
        expected = torch.nn.functional.cross_entropy(logits[learned], targets[learned], reduction="sum")
        assert count == sum(encoded.learned)
        assert loss == pytest.approx(float(expected), rel=1e-4)


def test_nothing_to_do(engine: Engine) -> None:
    assert engine.generate([], 5, 4) == []
    assert engine.answer_losses([], 4) == []


def test_a_stream_is_the_generated_text_in_pieces(engine: Engine) -> None:
    stream = engine.stream(PROMPTS[0], 12)
    pieces: list[str] = []
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as stopped:
            finished = stopped.value
            break
    assert "".join(pieces) == engine.generate([PROMPTS[0]], 12, 1)[0]
    assert isinstance(finished, Finished)
    assert finished.prompt_tokens == len(encode_prompt(engine.tokenizer, PROMPTS[0]))
    assert finished.reason == ("length" if finished.completion_tokens == 12 else "stop")


def test_a_stop_string_ends_a_stream(engine: Engine) -> None:
    whole = engine.generate([PROMPTS[0]], 12, 1)[0]
    stop = whole[4:6]
    assert "".join(engine.stream(PROMPTS[0], 12, stop=(stop,))) == whole.split(stop)[0]


def test_a_seed_repeats_a_sampled_stream(engine: Engine) -> None:
    first, second, other = (
        "".join(engine.stream(PROMPTS[0], 12, temperature=1.0, top_p=0.95, seed=seed)) for seed in (1, 1, 2)
    )
    assert first == second != other


def test_tools_are_part_of_what_is_asked(tmp_path: Path) -> None:
    writing = "{% for tool in tools or [] %}{{ tool | tojson }}{% endfor %}{% for m in messages %}<|im_start|>"
    writing += "{{ m.role }}\n{{ m.content }}{{ m.tool_calls | tojson if m.tool_calls else '' }}<|im_end|>{% endfor %}"
    writing += "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNELOOP_MODELS_DIR", str(tmp_path / "cache"))
        engine = Engine.load(resolve(str(make_tiny_model(tmp_path / "m", template=writing))), None, "none")
    tools = '[{"type": "function", "function": {"name": "find", "description": "finds"}}]'
    talk = [user("Where?"), assistant("Here.")]
    (without,), (with_tools,) = engine.answer_losses([talk], 1), engine.answer_losses([talk], 1, tools=[tools])
    assert without[1] == with_tools[1]
    assert without[0] != with_tools[0]
    assert engine.generate([talk[:1]], 1, 1, tools=[tools])
    with pytest.raises(ValueError, match="shorter"):
        engine.generate([talk[:1]] * 2, 1, 1, tools=[tools])
