"""Fused layers compute what the layers they replace compute: values and gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional

from tasks.inference.weights import load_base
from tasks.train import llama_layers
from tasks.train.fused import apply
from tasks.train.llama_layers import fuse, is_fused


def adapted(folder: Path, dropout: float = 0.0, dora: bool = False) -> Any:
    torch.manual_seed(1)
    config = LoraConfig(
        r=4, lora_alpha=8, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM", use_dora=dora
    )
    model = get_peft_model(load_base(folder, "nf4").float(), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model


def whole(folder: Path) -> Any:
    """All weights are learned."""
    return load_base(folder, "none").float().requires_grad_(True)


def loss_and_gradients(model: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    ids = torch.arange(3, 35).view(2, 16)
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    return loss, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("short_scores", [4_000_000, 1_500, 0])
def test_a_fused_model_learns_the_same(tiny_model: Path, monkeypatch: pytest.MonkeyPatch, short_scores: int) -> None:
    monkeypatch.setattr(llama_layers, "_SHORT_SCORES", short_scores)
    plain, fused = adapted(tiny_model), adapted(tiny_model)
    assert fuse(fused.get_base_model()) == {"blocks": 2, "norms": 5, "linears": 14}
    (loss, gradients), (fused_loss, fused_gradients) = loss_and_gradients(plain), loss_and_gradients(fused)
    torch.testing.assert_close(fused_loss, loss)
    assert gradients.keys() == fused_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(fused_gradients[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    ("rows", "length", "pieces"),
    [(16, 75, [16]), (80, 75, [79, 1]), (2, 400, [2]), (9, 300, [4, 4, 1]), (6, 400, []), (1, 700, [])],
)
def test_many_short_rows_attend_some_at_a_time(
    monkeypatch: pytest.MonkeyPatch, rows: int, length: int, pieces: list[int]
) -> None:
    """With nine heads, as SmolLM2-135M has; the values are those of torch's own kernel."""
    taken: list[int] = []

    def noted(function: Any, *arguments: Any) -> torch.Tensor:
        taken.append(len(arguments[0]))
        return apply(function, *arguments)

    monkeypatch.setattr(llama_layers, "apply", noted)
    heads = torch.randn(rows, length, 9 + 2 * 3, 8, generator=torch.Generator().manual_seed(1))
    found = llama_layers._attend(heads, 3, 0.3)
    query, key, value = (x.transpose(1, 2) for x in torch.split(heads, [9, 3, 3], dim=2))
    scores = functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=0.3, enable_gqa=True)
    torch.testing.assert_close(found, scores.transpose(1, 2).flatten(2), rtol=1e-4, atol=1e-5)
    assert taken == pieces


def test_joined_weights_are_kept_once(tiny_model: Path) -> None:
    model = adapted(tiny_model).get_base_model()
    fuse(model)
    attention = model.model.layers[0].self_attn
    assert (
        attention.k_proj.base_layer.weight.untyped_storage().data_ptr() == attention.joined.untyped_storage().data_ptr()
    )


def test_layers_with_dropout_keep_their_own_forward(tiny_model: Path) -> None:
    assert fuse(adapted(tiny_model, dropout=0.1).get_base_model()) == {"blocks": 0, "norms": 5, "linears": 0}


def test_layers_with_magnitudes_keep_their_own_forward(tiny_model: Path) -> None:
    model = adapted(tiny_model, dora=True).get_base_model()
    assert fuse(model) == {"blocks": 0, "norms": 5, "linears": 0}
    assert not is_fused(model)


def test_whole_weights_learn_the_same(tiny_model: Path) -> None:
    plain, fused = whole(tiny_model), whole(tiny_model)
    assert fuse(fused) == {"blocks": 2, "norms": 5, "linears": 0}
    assert is_fused(fused)
    (loss, gradients), (fused_loss, fused_gradients) = loss_and_gradients(plain), loss_and_gradients(fused)
    torch.testing.assert_close(fused_loss, loss)
    for name, gradient in gradients.items():
        torch.testing.assert_close(fused_gradients[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_adapters_that_are_switched_off_are_left_out(tiny_model: Path) -> None:
    plain, fused = adapted(tiny_model), adapted(tiny_model)
    fuse(fused.get_base_model())
    ids = torch.arange(3, 35).view(2, 16)
    with torch.no_grad(), plain.disable_adapter(), fused.disable_adapter():
        torch.testing.assert_close(fused(input_ids=ids).logits, plain(input_ids=ids).logits)
