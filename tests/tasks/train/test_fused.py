"""The fused layers compute what the layers they replace compute: values and gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional

from tasks.inference.weights import load_base
from tasks.train import llama_layers
from tasks.train.fused import AnswerLoss, LoraProducts, RmsNorm, Rotary, ShortAttention, SwiGlu, apply
from tasks.train.llama_layers import fuse

torch.manual_seed(0)


def leaf(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


def test_gradients_of_the_products() -> None:
    x, weight = leaf(5, 6), torch.randn(7, 6, dtype=torch.float64)
    downs, ups = [leaf(2, 6), leaf(2, 6)], [leaf(4, 2), leaf(3, 2)]
    assert torch.autograd.gradcheck(lambda *t: apply(LoraProducts, t[0], weight, 2.0, *t[1:]), (x, *downs, *ups))
    expected = torch.cat(
        [x @ (w + 2.0 * up @ down).t() for w, down, up in zip(weight.split([4, 3]), downs, ups, strict=True)], dim=1
    )
    torch.testing.assert_close(apply(LoraProducts, x, weight, 2.0, *downs, *ups), expected)


def test_the_lowest_layers_input_gets_no_gradient() -> None:
    down, up = leaf(2, 6), leaf(4, 2)
    apply(
        LoraProducts, torch.randn(5, 6, dtype=torch.float64), torch.randn(4, 6).double(), 1.0, down, up
    ).sum().backward()
    assert down.grad is not None
    assert up.grad is not None


def test_norm() -> None:
    x, weight = torch.randn(3, 5, 8, requires_grad=True), torch.rand(8)
    reference = functional.rms_norm(x, (8,), weight, 1e-5)
    torch.testing.assert_close(apply(RmsNorm, x, weight, 1e-5), reference)
    ours, theirs = (torch.autograd.grad(y.square().sum(), x)[0] for y in (apply(RmsNorm, x, weight, 1e-5), reference))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_rotary_and_swiglu_gradients() -> None:
    angles = torch.rand(4, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: apply(Rotary, x, angles.cos(), angles.sin()), (leaf(2, 4, 3, 6),))
    assert torch.autograd.gradcheck(lambda x: apply(SwiGlu, x), (leaf(3, 8),))
    both = leaf(3, 8)
    torch.testing.assert_close(apply(SwiGlu, both), functional.silu(both[:, :4]) * both[:, 4:])


def test_short_attention() -> None:
    query, key, value = leaf(2, 5, 4, 3), leaf(2, 5, 2, 3), leaf(2, 5, 2, 3)
    assert torch.autograd.gradcheck(lambda *t: apply(ShortAttention, *t, 0.5), (query, key, value))
    reference = functional.scaled_dot_product_attention(
        *(x.transpose(1, 2) for x in (query, key, value)), is_causal=True, scale=0.5, enable_gqa=True
    )
    ours = apply(ShortAttention, query, key, value, 0.5)
    torch.testing.assert_close(ours, reference.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("slice_tokens", [3, 256])
def test_answer_loss(monkeypatch: pytest.MonkeyPatch, slice_tokens: int) -> None:
    monkeypatch.setattr(AnswerLoss, "SLICE_TOKENS", slice_tokens)
    hidden, head, targets = torch.randn(7, 4, requires_grad=True), torch.randn(9, 4), torch.arange(7)
    expected = functional.cross_entropy(hidden @ head.t(), targets, reduction="sum")
    ours = apply(AnswerLoss, hidden, head, targets)
    torch.testing.assert_close(ours, expected)
    theirs = torch.autograd.grad(expected, hidden)[0]
    torch.testing.assert_close(torch.autograd.grad(ours, hidden)[0], theirs, rtol=1e-4, atol=1e-5)


def adapted(folder: Path, dropout: float = 0.0) -> Any:
    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=8, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(load_base(folder, "nf4").float(), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model


def loss_and_gradients(model: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    ids = torch.arange(3, 35).view(2, 16)
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    return loss, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("short_scores", [4_000_000, 0])
def test_a_fused_model_learns_the_same(tiny_model: Path, monkeypatch: pytest.MonkeyPatch, short_scores: int) -> None:
    monkeypatch.setattr(llama_layers, "_SHORT_SCORES", short_scores)
    plain, fused = adapted(tiny_model), adapted(tiny_model)
    assert fuse(fused.get_base_model()) == {"blocks": 2, "norms": 5, "linears": 14}
    (loss, gradients), (fused_loss, fused_gradients) = loss_and_gradients(plain), loss_and_gradients(fused)
    torch.testing.assert_close(fused_loss, loss)
    assert gradients.keys() == fused_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(fused_gradients[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_joined_weights_are_kept_once(tiny_model: Path) -> None:
    model = adapted(tiny_model).get_base_model()
    fuse(model)
    attention = model.model.layers[0].self_attn
    assert (
        attention.k_proj.base_layer.weight.untyped_storage().data_ptr() == attention.joined.untyped_storage().data_ptr()
    )


def test_layers_with_dropout_keep_their_own_forward(tiny_model: Path) -> None:
    assert fuse(adapted(tiny_model, dropout=0.1).get_base_model()) == {"blocks": 0, "norms": 5, "linears": 0}
