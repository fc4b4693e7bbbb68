from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.contracts import Message
from tasks.tokens import count_tokens, load_tokenizer
from tasks.validate.lengths import TokenCounter, learn_frame, words_are_independent
from tests.tiny_model import make_tiny_model

TURNS = ("user", "assistant")


@pytest.fixture(scope="module")
def counter(tiny_model: Path) -> TokenCounter:
    return TokenCounter(tiny_model)


def conversation(*texts: str, system: str = "") -> tuple[Message, ...]:
    turns = [Message(role=TURNS[i % 2], content=text) for i, text in enumerate(texts)]  # type: ignore[arg-type]
    return (*([Message(role="system", content=system)] if system else []), *turns)


def test_the_tiny_model_is_counted_the_fast_way(counter: TokenCounter) -> None:
    assert counter.is_fast
    talk = conversation(
        "What is the capital of France?", "Paris, since 987.", "And of Peru?", "Lima", system="Be brief."
    )
    assert counter.proven([talk]) == counter.fast


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(max_size=40), min_size=1, max_size=4), system=st.text(max_size=10))
def test_both_ways_to_count_agree(counter: TokenCounter, texts: list[str], system: str) -> None:
    talk = conversation(*texts, system=system)
    assert counter.fast(talk) == counter.exact(talk)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet="ab \n\t.,'1\u00a0é東<|im_end|>", max_size=60))
def test_blanks_line_breaks_and_special_tokens(counter: TokenCounter, text: str) -> None:
    talk = conversation(text, text)
    assert counter.fast(talk) == counter.exact(talk)


def test_it_is_what_training_counts(counter: TokenCounter, tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    talk = conversation("My bike was meant to be here at nine", '{"intent": "billing"}\n  indented')
    assert counter.fast(talk) == count_tokens(tokenizer, talk)


def test_a_template_that_refuses_a_conversation(tmp_path: Path) -> None:
    refusing = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    counter = TokenCounter(make_tiny_model(tmp_path / "m", template=refusing))
    assert counter.fast(conversation("a", "b", system="s")) is None
    assert counter.fast(conversation("a", "b")) == counter.exact(conversation("a", "b"))


def test_a_template_that_does_more_than_frame_is_asked_for_every_row(tmp_path: Path) -> None:
    counting = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] | trim | upper + '<|im_end|>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    folder = make_tiny_model(tmp_path / "m", template=counting)
    assert learn_frame(load_tokenizer(folder)) is None


def test_a_tokenizer_that_joins_words_is_asked_for_every_row() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    def made(pieces: Any) -> Tokenizer:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pieces
        return tokenizer

    assert words_are_independent(made(pre_tokenizers.ByteLevel(add_prefix_space=False)), [])
    assert not words_are_independent(made(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)), [])
    assert not words_are_independent(made(pre_tokenizers.Metaspace()), [])
