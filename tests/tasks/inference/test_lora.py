"""Adapters at inference compute what PEFT computes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tasks.contracts import Quantization
from tasks.errors import UsageError
from tasks.inference.lora import attach
from tasks.inference.weights import load_base


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter saved by PEFT itself."""
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(0)
    model = get_peft_model(
        load_base(tiny_model, "nf4"), LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder


def test_same_logits_as_peft(tiny_model: Path, adapter: Path) -> None:
    from peft import PeftModel

    ids = torch.arange(3, 23)[None]
    base = load_base(tiny_model, "nf4")
    without = base(input_ids=ids).logits
    theirs = PeftModel.from_pretrained(load_base(tiny_model, "nf4"), str(adapter))(input_ids=ids).logits
    attach(base, adapter)
    ours = base(input_ids=ids).logits
    assert (ours - without).abs().max() > 0.01
    torch.testing.assert_close(ours, theirs, rtol=3e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("settings", "quantization"),
    [({"use_dora": True}, "nf4"), ({"use_rslora": True}, "nf4"), ({"use_dora": True}, "none"), ({}, "int8")],
)
def test_other_kinds_compute_what_peft_computes(
    tiny_model: Path, tmp_path: Path, settings: dict[str, bool], quantization: Quantization
) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", **settings)
    made = get_peft_model(load_base(tiny_model, quantization), config)
    for name, parameter in made.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
        if "magnitude" in name:
            parameter.data *= 1 + torch.rand_like(parameter)
    made.save_pretrained(tmp_path)
    ids = torch.arange(3, 23)[None]
    base = load_base(tiny_model, quantization)
    without = base(input_ids=ids).logits
    theirs = PeftModel.from_pretrained(load_base(tiny_model, quantization), str(tmp_path))(input_ids=ids).logits
    attach(base, tmp_path)
    ours = base(input_ids=ids).logits
    assert (ours - without).abs().max() > 0.01
    torch.testing.assert_close(ours, theirs, rtol=3e-2, atol=1e-2)


@pytest.mark.parametrize("odd", [{"bias": "all"}, {"peft_type": "IA3"}, {"rank_pattern": {"x": 2}}])
def test_another_kind_of_adapter_is_refused(
    tiny_model: Path, adapter: Path, tmp_path: Path, odd: dict[str, object]
) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text()) | odd
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="not supported") as caught:
        attach(load_base(tiny_model, "none"), tmp_path)
    assert next(iter(odd)) in caught.value.why


def test_an_adapter_of_another_model_is_refused(adapter: Path, tmp_path: Path) -> None:
    from tests.tiny_model import make_tiny_model

    smaller = make_tiny_model(tmp_path / "one_layer", layers=1)
    with pytest.raises(UsageError, match="does not fit"):
        attach(load_base(smaller, "none"), adapter)
