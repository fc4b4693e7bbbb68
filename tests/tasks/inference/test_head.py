"""Logits outside of a model's own forward pass are those of its forward pass, whatever its head does to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Cohere2Config,
    CohereConfig,
    FalconH1Config,
    Gemma2Config,
    Gemma3TextConfig,
    GraniteConfig,
    HyperCLOVAXConfig,
    LlamaConfig,
    PhiConfig,
)

from tasks.contracts import Message
from tasks.errors import ModelUnavailable
from tasks.inference.engine import Engine
from tasks.inference.head import PLAIN, finish_of
from tasks.tokens import encode_example, load_tokenizer
from tasks.train.data import IGNORED
from tasks.train.forward import answer_loss, whole_loss
from tasks.train.log_probs import TokenLogProbs, learned_log_probs

SIZES: dict[str, Any] = {
    "vocab_size": 640, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
}  # fmt: skip
FAMILIES: dict[str, Callable[..., Any]] = {
    "granite": lambda: GraniteConfig(**SIZES, logits_scaling=6.0),
    "hyperclovax": lambda: HyperCLOVAXConfig(**SIZES, logits_scaling=3.0),
    "cohere": lambda: CohereConfig(**SIZES, logit_scale=0.25),
    "cohere2": lambda: Cohere2Config(**SIZES, logit_scale=0.25),
    "gemma2": lambda: Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=2.0),
    "gemma3": lambda: Gemma3TextConfig(**SIZES, head_dim=8, final_logit_softcapping=2.0),
    "phi": lambda: PhiConfig(**SIZES),
}


def model_of(family: str) -> Any:
    """A random model in fp32 with large weights, so that a factor or a cap is seen; its head's bias is not zero."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(FAMILIES[family](), attn_implementation="eager").float().eval()
    head = model.get_output_embeddings()
    head.weight.data.normal_()
    if getattr(head, "bias", None) is not None:
        head.bias.data.normal_()
    return model


def batch_of() -> dict[str, torch.Tensor]:
    ids = torch.arange(5, 29).view(2, 12)
    labels = ids.clone()
    labels[0, :7], labels[1, :3] = IGNORED, IGNORED
    return {"input_ids": ids, "labels": labels}


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("learned", ["all", "no head"])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_in_slices(family: str, learned: str) -> None:
    model, batch = model_of(family), batch_of()
    model.get_output_embeddings().requires_grad_(learned == "all")
    theirs, ours = whole_loss(model, batch), answer_loss(model, batch)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)
    expected, found = gradients(model, theirs), gradients(model, ours)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("learned", ["all", "no head"])
@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_in_slices(monkeypatch: pytest.MonkeyPatch, family: str, learned: str) -> None:
    monkeypatch.setattr(TokenLogProbs, "SLICE_TOKENS", 5)
    model, batch = model_of(family), batch_of()
    model.get_output_embeddings().requires_grad_(learned == "all")
    found, wanted = learned_log_probs(model, batch["input_ids"], batch["labels"])
    shares = torch.log_softmax(model(input_ids=batch["input_ids"]).logits[:, :-1], -1)
    expected = shares.gather(2, batch["input_ids"][:, 1:, None])[:, :, 0] * wanted
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    weights = torch.linspace(0.5, 1.5, found.numel()).view_as(found)
    ours, theirs = gradients(model, (found * weights).sum()), gradients(model, (expected * weights).sum())
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_engine_measures_and_draws_by_the_models_own_logits(tiny_model: Path, family: str) -> None:
    model, tokenizer = model_of(family), load_tokenizer(tiny_model)
    engine = Engine(model, tokenizer)
    talk = [Message(role="user", content="Where is it?"), Message(role="assistant", content="In Rye.")]
    encoded = encode_example(tokenizer, talk)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([encoded.input_ids])).logits[0]
    shares = torch.log_softmax(logits, -1)
    places = [place for place, learned in enumerate(encoded.learned) if learned]
    expected = -sum(float(shares[place - 1, encoded.input_ids[place]]) for place in places)
    loss, tokens = engine.answer_losses([talk], 1)[0]
    assert loss == pytest.approx(expected, rel=1e-4)
    assert tokens == len(places)
    with torch.no_grad():
        found = engine._next_logits(torch.tensor([encoded.input_ids]), None, None)[0]
    torch.testing.assert_close(found, logits[-1], rtol=1e-4, atol=1e-4)


def test_a_multiplier_that_the_decoder_keeps() -> None:
    torch.manual_seed(0)
    config = FalconH1Config(**SIZES, lm_head_multiplier=0.5, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8)
    model = AutoModelForCausalLM.from_config(config).eval()
    assert finish_of(model).scale == 0.5


def test_other_heads_stay_as_they_are() -> None:
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SIZES))
    assert finish_of(model) == PLAIN
    model.config.output_multiplier = 2.0
    with pytest.raises(ModelUnavailable, match="head of this base model") as caught:
        finish_of(model)
    assert "LlamaForCausalLM changes its logits by output_multiplier" in caught.value.why
