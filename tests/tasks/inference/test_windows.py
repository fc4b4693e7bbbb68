"""Models whose layers look back only so far: what is computed with our cache is what they compute without one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma3TextConfig, MistralConfig, Qwen2Config

from tasks.contracts import Message
from tasks.inference.engine import Engine
from tasks.tokens import encode_example, encode_prompt, load_tokenizer
from tests.tasks.inference.test_head import SIZES

WINDOW = 8
FAMILIES: dict[str, Callable[[int], Any]] = {
    "gemma2": lambda window: Gemma2Config(**SIZES, head_dim=8, sliding_window=window),
    "gemma3": lambda window: Gemma3TextConfig(**SIZES, head_dim=8, sliding_window=window),
    "mistral": lambda window: MistralConfig(**SIZES, head_dim=8, sliding_window=window),
    "qwen2": lambda window: Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=window, max_window_layers=0),
}
TALKS = [
    [
        Message(role="user", content="Where is it? " * often),
        Message(role="assistant", content="In Rye, and so on. " * 3),
    ]
    for often in (9, 1, 6, 3)
]


def model_of(family: str, window: int = WINDOW) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(FAMILIES[family](window), attn_implementation="eager").float().eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(3)
    return model


def loss_without_cache(model: Any, tokenizer: Any, talk: list[Message]) -> float:
    encoded = encode_example(tokenizer, talk)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([encoded.input_ids]), use_cache=False).logits[0]
    shares = torch.log_softmax(logits, -1)
    places = (place for place, learned in enumerate(encoded.learned) if learned)
    return -sum(float(shares[place - 1, encoded.input_ids[place]]) for place in places)


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_and_answers_beyond_the_window(tiny_model: Path, family: str) -> None:
    tokenizer, model = load_tokenizer(tiny_model), model_of(family)
    engine = Engine(model, tokenizer)
    expected = [loss_without_cache(model, tokenizer, talk) for talk in TALKS]
    assert [loss for loss, _ in engine.answer_losses(TALKS, 4)] == pytest.approx(expected, rel=1e-5)
    wide = model_of(family, 256)
    assert loss_without_cache(wide, tokenizer, TALKS[0]) != pytest.approx(expected[0], rel=1e-5)  # the window is felt
    prompts = [talk[:1] for talk in TALKS]
    for prompt, answer in zip(prompts, engine.generate(prompts, 12, 4), strict=True):
        ids = torch.tensor([encode_prompt(tokenizer, prompt)])
        made = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12,
                              eos_token_id=engine._stop, pad_token_id=engine._stop)  # fmt: skip
        assert answer == tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)
