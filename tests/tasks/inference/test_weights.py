"""Training and inference see the numbers of bitsandbytes' 4-bit layers."""

from __future__ import annotations

from pathlib import Path

import torch

from tasks.inference.weights import linear_layers, load_base, load_base_in_4bit, nf4_values


def test_expanded_values_compute_what_a_4bit_layer_computes(tiny_model: Path) -> None:
    dense, quantised = load_base(tiny_model, "nf4"), load_base_in_4bit(tiny_model)
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    fours = dict(quantised.named_modules())
    names = [name for name, _ in linear_layers(dense)]
    assert len(names) == 14
    for name, layer in linear_layers(dense):
        assert type(fours[name]).__name__ == "Linear4bit"
        if layer.in_features == x.shape[1]:
            torch.testing.assert_close(layer(x), fours[name].train()(x), rtol=2e-2, atol=2e-3)


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
