"""The fused functions compute what they replace: values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from tasks.train.compiled import _norm, _norm_back, _swiglu, _swiglu_back
from tasks.train.fused import (
    AnswerLoss,
    Chosen,
    JoinedProducts,
    LoraProducts,
    RmsNorm,
    Rotary,
    ShortAttention,
    SwiGlu,
    apply,
)
from tasks.train.kernels import EAGER

torch.manual_seed(0)


def leaf(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


def test_gradients_of_joined_products() -> None:
    x, frozen = leaf(5, 6), torch.randn(7, 6, dtype=torch.float64)
    downs, ups = [leaf(2, 6), leaf(2, 6)], [leaf(4, 2), leaf(3, 2)]
    weight = functional.pad(frozen, (0, 4))
    assert torch.autograd.gradcheck(lambda *t: apply(JoinedProducts, t[0], weight, 2.0, *t[1:]), (x, *downs, *ups))
    parts = zip(frozen.split([4, 3]), downs, ups, strict=True)
    expected = torch.cat([x @ (w + 2.0 * up @ down).t() for w, down, up in parts], dim=1)
    torch.testing.assert_close(apply(JoinedProducts, x, weight, 2.0, *downs, *ups), expected)
    assert torch.equal(weight[:, :6], frozen)


def test_gradients_of_one_layers_products() -> None:
    x, weight, down, up = leaf(5, 6), torch.randn(7, 6, dtype=torch.float64), leaf(2, 6), leaf(7, 2)
    assert torch.autograd.gradcheck(lambda *t: apply(LoraProducts, t[0], weight, 2.0, *t[1:]), (x, down, up))
    torch.testing.assert_close(apply(LoraProducts, x, weight, 2.0, down, up), x @ (weight + 2.0 * up @ down).t())


@pytest.mark.parametrize(("products", "room"), [(LoraProducts, 0), (JoinedProducts, 2)])
def test_the_lowest_layers_input_gets_no_gradient(products: type[torch.autograd.Function], room: int) -> None:
    down, up = leaf(2, 6), leaf(4, 2)
    x, weight = torch.randn(5, 6, dtype=torch.float64), torch.randn(4, 6 + room, dtype=torch.float64)
    apply(products, x, weight, 1.0, down, up).sum().backward()
    assert down.grad is not None
    assert up.grad is not None
    assert torch.allclose(up.grad, (x @ down.t()).sum(0).expand(4, 2))


@pytest.mark.parametrize("learned", [False, True])
def test_norm(learned: bool) -> None:
    x, weight = torch.randn(3, 5, 8, requires_grad=True), torch.rand(8, requires_grad=learned)
    reference = functional.rms_norm(x, (8,), weight, 1e-5)
    ours = apply(RmsNorm, x, weight, 1e-5, EAGER)
    torch.testing.assert_close(ours, reference)
    wanted = (x, weight) if learned else (x,)
    for found, expected in zip(
        *(torch.autograd.grad(y.square().sum(), wanted) for y in (ours, reference)), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_rotary_and_swiglu_gradients() -> None:
    angles = torch.rand(4, 3, dtype=torch.float64)
    x, turned = leaf(2, 4, 3, 6), 2
    assert torch.autograd.gradcheck(lambda x: apply(Rotary, x, angles.cos(), angles.sin(), turned), (x,))
    torch.testing.assert_close(apply(Rotary, x, angles.cos(), angles.sin(), turned)[:, :, turned:], x[:, :, turned:])
    assert torch.autograd.gradcheck(lambda x: apply(SwiGlu, x, EAGER), (leaf(3, 8),))
    both = leaf(3, 8)
    torch.testing.assert_close(apply(SwiGlu, both, EAGER), functional.silu(both[:, :4]) * both[:, 4:])


def test_short_attention() -> None:
    query, key, value = leaf(2, 5, 4, 3), leaf(2, 5, 2, 3), leaf(2, 5, 2, 3)
    assert torch.autograd.gradcheck(lambda *t: apply(ShortAttention, *t, 0.5), (query, key, value))
    reference = functional.scaled_dot_product_attention(
        *(x.transpose(1, 2) for x in (query, key, value)), is_causal=True, scale=0.5, enable_gqa=True
    )
    ours = apply(ShortAttention, query, key, value, 0.5)
    torch.testing.assert_close(ours, reference.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("slice_tokens", [3, 256])
@pytest.mark.parametrize("learned", [False, True])
def test_answer_loss(monkeypatch: pytest.MonkeyPatch, slice_tokens: int, learned: bool) -> None:
    monkeypatch.setattr(AnswerLoss, "SLICE_TOKENS", slice_tokens)
    hidden, head, targets = torch.randn(7, 4, requires_grad=True), torch.randn(9, 4), torch.arange(7)
    wanted = (hidden, head.requires_grad_()) if learned else (hidden,)
    expected = functional.cross_entropy(hidden @ head.t(), targets, reduction="sum")
    ours = apply(AnswerLoss, hidden, head, targets)
    torch.testing.assert_close(ours, expected)
    for found, reference in zip(*(torch.autograd.grad(y, wanted) for y in (ours, expected)), strict=True):
        torch.testing.assert_close(found, reference, rtol=1e-4, atol=1e-5)


def test_chosen_rows() -> None:
    rows = torch.tensor([4, 0, 2])
    assert torch.autograd.gradcheck(lambda x: apply(Chosen, x, rows), (leaf(5, 3),))
    x = leaf(5, 3)
    torch.testing.assert_close(apply(Chosen, x, rows), x[rows])


def test_compiled_kernels_compute_the_same() -> None:
    """In bf16, as in a training: the compiler computes in fp32 inside a loop, so the last bit may differ."""
    x, weight, both = torch.randn(5, 64).bfloat16(), torch.rand(64).bfloat16(), torch.randn(5, 128).bfloat16()
    grad, compiled = torch.randn(5, 64).bfloat16(), (_norm, _norm_back, _swiglu, _swiglu_back)
    inverse = EAGER.norm(x, weight, 1e-5)[1]
    arguments = ((x, weight, 1e-5), (grad, x, weight, inverse), (both,), (grad, both))
    for kernel, plain, given in zip(compiled, EAGER, arguments, strict=True):
        found, expected = kernel(*given), plain(*given)  # type: ignore[operator]
        torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)
