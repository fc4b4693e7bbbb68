"""Training and inference see the numbers of bitsandbytes' 4-bit layers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tasks.contracts import Precision
from tasks.inference.precision import native_precision, torch_type
from tasks.inference.weights import linear_layers, load_base, load_base_in_4bit, nf4_values


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 2e-2), ("fp32", 1e-5)])
def test_expanded_values_compute_what_a_4bit_layer_computes(
    tiny_model: Path, precision: Precision, tolerance: float
) -> None:
    dense = load_base(tiny_model, "nf4", precision=precision)
    quantised = load_base_in_4bit(tiny_model, precision)
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(0)).to(torch_type(precision))
    fours = dict(quantised.named_modules())
    names = [name for name, _ in linear_layers(dense)]
    assert len(names) == 14
    for name, layer in linear_layers(dense):
        assert type(fours[name]).__name__ == "Linear4bit"
        if layer.in_features == x.shape[1]:
            torch.testing.assert_close(layer(x), fours[name].train()(x), rtol=tolerance, atol=tolerance / 10)


def test_nf4_has_sixteen_values_a_block() -> None:
    weight = torch.randn(8, 64, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    values = nf4_values(weight)
    assert values.dtype == torch.bfloat16
    assert all(len(row.unique()) <= 16 for row in values)
    assert 0 < (values - weight).abs().max() < 0.5


def test_without_quantisation_the_weights_are_the_files(tiny_model: Path) -> None:
    from safetensors.torch import load_file

    files = load_file(str(tiny_model / "model.safetensors"))
    model = load_base(tiny_model, "none")
    assert all(torch.equal(layer.weight, files[f"{name}.weight"]) for name, layer in linear_layers(model))
    assert not any(p.requires_grad for p in model.parameters())


def test_the_head_is_neither_quantised_nor_adapted(tiny_model: Path) -> None:
    assert all("lm_head" not in name for name, _ in linear_layers(load_base(tiny_model, "none")))


def test_weights_have_the_same_values_in_either_precision(tiny_model: Path) -> None:
    wide, narrow = (load_base(tiny_model, "none", precision=precision) for precision in ("fp32", "bf16"))
    for (name, one), (_, other) in zip(wide.named_parameters(), narrow.named_parameters(), strict=True):
        assert (one.dtype, other.dtype) == (torch.float32, torch.bfloat16), name
        assert torch.equal(one, other.float()), name


def test_8bit_layers_stay_8bit_and_the_rest_has_the_precision(tiny_model: Path) -> None:
    model = load_base(tiny_model, "int8", precision="fp32")
    assert {layer.weight.dtype for _, layer in linear_layers(model)} == {torch.int8}
    assert model.get_input_embeddings().weight.dtype is torch.float32
    assert model(input_ids=torch.tensor([[1, 2, 3]])).logits.dtype is torch.float32


def test_what_is_not_said_is_what_the_machine_computes_fast(tiny_model: Path) -> None:
    expected = torch_type(native_precision("cpu"))
    assert {p.dtype for p in load_base(tiny_model, "none", "cpu").parameters()} == {expected}
