"""The model that is trained (frozen base, low-rank adapter) and the adapter that comes out."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file

from tasks.adapters.store import write_atomically
from tasks.contracts import Digest
from tasks.digest import digest_bytes, digest_of
from tasks.inference.weights import load_base, load_base_in_4bit
from tasks.train.llama_layers import fuse
from tasks.train.plan import Decisions, Job

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
# Where it was made and by which release of the library: recorded, but not part of what an adapter is.
_INCIDENTAL = frozenset({"base_model_name_or_path", "peft_version", "revision", "auto_mapping"})
_PRECISION = {"fp32": torch.float32, "bf16": torch.bfloat16}


def build(job: Job, decisions: Decisions) -> Any:
    """The base model with a fresh adapter, its layers fused where that computes the same."""
    model = _load(job, decisions)
    torch.manual_seed(job.config.seed)
    config = LoraConfig(
        r=job.config.rank,
        lora_alpha=job.config.alpha,
        lora_dropout=job.config.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config, autocast_adapter_dtype=False)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(_PRECISION[decisions.adapter_precision.value])
    fuse(adapted.get_base_model())
    if decisions.compile.value == "on":
        for layer in adapted.get_base_model().get_decoder().layers:
            layer.compile(dynamic=True)
    return adapted


def _load(job: Job, decisions: Decisions) -> Any:
    folder = Path(job.base.path)
    if job.config.adapter == "qlora" and decisions.expand_nf4.value == "off":
        return load_base_in_4bit(folder)
    return load_base(folder, "nf4" if job.config.adapter == "qlora" else "none")


def write(adapted: Any, job: Job) -> Digest:
    """Write the adapter to the job's folder in bf16, the type it is computed in; returns its digest."""
    tensors = {name: t.to(torch.bfloat16).contiguous() for name, t in get_peft_model_state_dict(adapted).items()}
    config = _plain_config(adapted, job)
    save_file(tensors, str(job.work / WEIGHTS), metadata={"format": "pt"})
    write_atomically(job.work / CONFIG, json.dumps(config, indent=1, sort_keys=True))
    return adapter_digest(tensors, config)


def _plain_config(adapted: Any, job: Job) -> dict[str, Any]:
    config = adapted.peft_config["default"].to_dict()
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    plain |= {"base_model_name_or_path": job.base.name, "inference_mode": True}
    plain["peft_version"] = importlib.metadata.version("peft")
    return dict(json.loads(json.dumps(plain, default=str)))


def adapter_digest(tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> Digest:
    """Identity of an adapter: its numbers and what its configuration computes with them."""
    numbers = [
        [name, str(t.dtype), list(t.shape), digest_bytes(t.contiguous().view(torch.uint8).numpy().tobytes())]
        for name, t in sorted(tensors.items())
    ]
    return digest_of([numbers, {key: value for key, value in config.items() if key not in _INCIDENTAL}])
