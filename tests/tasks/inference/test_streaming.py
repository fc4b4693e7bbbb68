"""Whole characters, stop strings, and how a token is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.inference.streaming import TextStream, pick_token
from tasks.tokens import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    return load_tokenizer(tiny_model)


def stream(tokenizer: Any, text: str, stop: tuple[str, ...] = ()) -> tuple[list[str], bool]:
    out = TextStream(tokenizer, stop)
    pieces = []
    for token in tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]:
        pieces.append(out.push(token))
        if out.stopped:
            break
    return [*pieces, out.flush()], out.stopped


@given(st.text(st.characters(codec="utf-8", exclude_characters="\ufffd"), max_size=40))
@settings(deadline=None)
def test_the_pieces_are_the_text_in_whole_characters(tokenizer: Any, text: str) -> None:
    pieces, stopped = stream(tokenizer, text)
    assert "".join(pieces) == text
    assert not stopped
    assert not any("\ufffd" in piece for piece in pieces)


@given(st.text("abc", max_size=12), st.text("abc", min_size=1, max_size=3))
@settings(deadline=None)
def test_nothing_of_a_stop_string_is_sent(tokenizer: Any, text: str, stop: str) -> None:
    pieces, stopped = stream(tokenizer, text, (stop,))
    assert "".join(pieces) == text.split(stop)[0]
    assert stopped == (stop in text)


def test_temperature_zero_takes_the_likeliest() -> None:
    assert pick_token(torch.tensor([0.1, 2.0, 0.3]), 0.0, 1.0, None) == 1


def test_top_p_leaves_out_the_unlikely() -> None:
    logits = torch.log(torch.tensor([0.6, 0.3, 0.1]))
    drawn = {pick_token(logits, 1.0, 0.7, torch.Generator().manual_seed(s)) for s in range(60)}
    assert drawn == {0, 1}


def test_a_seed_repeats_the_draw() -> None:
    logits = torch.zeros(50)
    first, second = (pick_token(logits, 1.0, 1.0, torch.Generator().manual_seed(3)) for _ in range(2))
    assert first == second
