"""The GPU benchmark on a CPU with a tiny shape: the same code, ours and TRL's side."""

from __future__ import annotations

import json

import pytest

from bench import gpu
from bench.gpu_models import SHAPES, random_model


def test_the_benchmark_measures_both_sides(capsys: pytest.CaptureFixture[str]) -> None:
    tiny = ["--device", "cpu", "--shape", "tiny", "--big-shape", "tiny", "--sequence", "64", "--row-tokens", "32"]
    gpu.main([*tiny, "--parts", "lora,memory", "--steps", "1", "--warm", "1"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    for side in ("ours", "trl"):
        assert told["lora"][side]["tokens_per_second"] > 0
        assert told["lora"][side]["mfu_of_gemm"] > 0
        assert told["memory"][side]["peak_gigabytes"] > 0
    assert told["memory"]["ours"]["notes"]["activation_checkpointing"] == "on: configured"


def test_the_shapes_have_the_size_of_their_names() -> None:
    sizes = {name: gpu.shape_of_name(name) for name in SHAPES}
    heads = {name: 2 * shape.vocabulary * shape.hidden for name, shape in sizes.items()}
    assert (sizes["qwen2.5-7b"].block_weights + heads["qwen2.5-7b"]) / 1e9 == pytest.approx(7.6, abs=0.1)
    assert (sizes["llama-70b"].block_weights + heads["llama-70b"]) / 1e9 == pytest.approx(70.6, abs=0.2)


def test_four_bit_weights_are_made_layer_by_layer() -> None:
    import torch
    from bitsandbytes.nn import Linear4bit

    model = random_model("tiny", "cpu", nf4=True, attention="sdpa")
    layers = [module for module in model.modules() if isinstance(module, Linear4bit)]
    assert len(layers) == 2 * 7
    assert all(layer.weight.dtype is torch.bfloat16 and layer.weight.quant_state is not None for layer in layers)
    assert all(parameter.device.type == "cpu" for parameter in model.parameters())
