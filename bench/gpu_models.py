"""Models of a real size with random weights, made on the device they train on: nothing is read or downloaded."""

from __future__ import annotations

import math
from typing import Any

_QWEN = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu", "rope_theta": 1e6}
_LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rope_theta": 5e5}
_ROLES = ("pad_token", "eos_token", "unk_token")
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": _QWEN | {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 512, "tie_word_embeddings": False, "max_position_embeddings": 8192,
    },
    "qwen2.5-7b": _QWEN | {
        "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False, "max_position_embeddings": 32768,
    },
    "llama-70b": _LLAMA | {
        "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64,
        "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False, "max_position_embeddings": 8192,
    },
}  # fmt: skip


def random_model(shape: str, device: str, *, nf4: bool, attention: str) -> Any:
    """A causal language model in bf16; with nf4 its linear layers hold 4-bit weights, made one by one."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    values = dict(SHAPES[shape])
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    config.use_cache = False
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation=attention)
    head = model.get_output_embeddings()
    for name, module in list(model.named_modules()):
        if nf4 and isinstance(module, torch.nn.Linear) and module is not head:
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, _linear_4bit(module, device))
        else:
            _fill(module, device)
    base = model.get_decoder()
    with torch.device(device):
        base.rotary_emb = type(base.rotary_emb)(config)
    if nf4:
        model.is_loaded_in_4bit = True
    return model.eval().requires_grad_(False)


def _random(size: Any, device: str) -> Any:
    import torch

    return torch.empty(size, dtype=torch.bfloat16, device=device).normal_(0, 0.02)


def _fill(module: Any, device: str) -> None:
    """Put random values in place of what a module itself holds."""
    import torch

    for name, parameter in list(module.named_parameters(recurse=False)):
        norm = parameter.dim() == 1 and name == "weight"
        value = torch.ones(parameter.shape, dtype=torch.bfloat16, device=device) if norm else None
        filled = torch.nn.Parameter(_random(parameter.shape, device) if value is None else value, requires_grad=False)
        module.register_parameter(name, filled)


def _linear_4bit(linear: Any, device: str) -> Any:
    import torch
    from bitsandbytes.nn import Linear4bit, Params4bit

    layer = Linear4bit(
        linear.in_features, linear.out_features, bias=linear.bias is not None, compute_dtype=torch.bfloat16,
        compress_statistics=True, quant_type="nf4", quant_storage=torch.bfloat16, device="meta",
    )  # fmt: skip
    weight = Params4bit(
        _random((linear.out_features, linear.in_features), device), requires_grad=False, compress_statistics=True,
        quant_type="nf4", quant_storage=torch.bfloat16, module=layer,
    )  # fmt: skip
    layer.weight = weight.to(device)
    if linear.bias is not None:
        layer.bias = torch.nn.Parameter(_random(linear.out_features, device), requires_grad=False)
    return layer


def tokenizer() -> Any:
    """A tokenizer that TRL accepts; rows are token ids already."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": 0, "<eos>": 1, "<unk>": 2}
    known = Tokenizer(models.WordLevel(words, unk_token=list(words)[2]))
    return PreTrainedTokenizerFast(tokenizer_object=known, **dict(zip(_ROLES, words, strict=True)))


def gemm_rate(device: str, size: int) -> float:
    """FLOP/s of a bf16 matrix product on this device now."""
    import time

    import torch

    a, b = (_random((size, size), device) for _ in range(2))
    for _ in range(3):
        a @ b
    wait(device)
    began, count = time.perf_counter(), 10
    for _ in range(count):
        torch.mm(a, b)
    wait(device)
    return count * 2 * math.pow(size, 3) / (time.perf_counter() - began)


def wait(device: str) -> None:
    """Go on when the device has done what it was given."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
