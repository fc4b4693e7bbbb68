"""The model that is trained (frozen base, low-rank adapter; or all weights) and the files that come out."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file

from tasks.adapters.store import write_atomically
from tasks.adapters.weight_files import sort_notes
from tasks.contracts import Digest
from tasks.digest import digest_bytes, digest_of
from tasks.errors import UsageError
from tasks.inference.weights import linear_layers, load_base, load_base_in_4bit, load_base_in_8bit
from tasks.train import whole_model
from tasks.train.layers import prepare_layers
from tasks.train.plan import Decisions, Job
from tasks.train.start import notes_of

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_ALL_LINEAR = ("all-linear",)
_MAGNITUDE = "lora_magnitude_vector"
# Where it was made and by which release of the library: recorded, but not part of what an adapter is.
_INCIDENTAL = frozenset({"base_model_name_or_path", "peft_version", "revision", "auto_mapping"})
# What has to be the same in an adapter that a training starts from: its shape and what is computed with it.
_SHAPE = ("r", "lora_alpha", "target_modules", "use_dora", "use_rslora")
_PRECISION = {"fp32": torch.float32, "bf16": torch.bfloat16}


def build(job: Job, decisions: Decisions) -> Any:
    """The model as it is before the first step: fresh or started from, its layers fused where that is the same."""
    if job.config.adapter == "full":
        return whole_model.build(job, decisions)
    model = _load(job, decisions)
    targets = _targets(model, job.config.target_modules)
    torch.manual_seed(job.config.seed)
    config = LoraConfig(
        r=job.config.rank,
        lora_alpha=job.config.alpha,
        lora_dropout=job.config.dropout,
        target_modules=targets,
        use_dora=job.config.adapter == "dora",
        use_rslora=job.config.rslora,
        task_type="CAUSAL_LM",
    )
    known = {name for name, _ in linear_layers(model)}
    adapted = get_peft_model(model, config, autocast_adapter_dtype=False)
    _check_known(set(adapted.base_model.targeted_module_names) - known)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(_PRECISION[decisions.adapter_precision.value])
    if job.start:
        _start_from(adapted, job.start)
    prepare_layers(adapted.get_base_model(), decisions)
    return adapted


def causal_model(model: Any) -> Any:
    """The causal language model inside an adapted one; a fully trained model is one itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _load(job: Job, decisions: Decisions) -> Any:
    folder, precision = Path(job.base.path), decisions.computed_in
    if job.config.adapter == "qlora" and decisions.expand_nf4.value == "off":
        return load_base_in_4bit(folder, precision)
    if job.config.adapter == "lora_8bit":
        return load_base_in_8bit(folder, precision)
    # a model that is to be split need not fit on one GPU: block by block it goes there when it is
    device = "cpu" if decisions.engine.value == "fsdp2" else ""
    return load_base(folder, "nf4" if job.config.adapter == "qlora" else "none", device, precision)


def _targets(model: Any, names: tuple[str, ...]) -> str | list[str]:
    """Layers to adapt, as PEFT wants them named.

    Raises:
        UsageError: a name fits no linear layer of the model's blocks; a part of them would quietly stay as it is.
    """
    if names == _ALL_LINEAR:
        return names[0]
    layers = [name for name, _ in linear_layers(model)]
    unknown = [n for n in names if not any(layer == n or layer.endswith(f".{n}") for layer in layers)]
    if unknown:
        possible = ", ".join(dict.fromkeys(layer.rsplit(".", 1)[-1] for layer in layers))
        raise UsageError(
            "there are no such layers in the base model",
            where="train.target_modules",
            why=f"no linear layer is named {', '.join(unknown)}",
            remedy=f"use all-linear, or some of: {possible}",
        )
    return list(names)


def _check_known(odd: set[str]) -> None:
    """What is learned has to be what answers: layers of another kind could be adapted and not be loaded again."""
    if odd:
        raise UsageError(
            "this kind of layer cannot be adapted",
            where="model.base",
            why=f"{len(odd)} layers are no linear layers of torch, the first is {min(odd)}; GPT-2 has such ones",
            remedy="use another base model, or train.adapter: full",
        )


def _start_from(adapted: Any, folder: Path) -> None:
    """Put the weights of an earlier adapter in place of the fresh ones; they keep the type they are trained in."""
    if not (folder / CONFIG).is_file():
        raise UsageError(
            "the training cannot start from this", where="train.start_from", why=f"{folder} holds no adapter"
        )
    before = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    now = _plain(adapted.peft_config["default"].to_dict())
    odd = [key for key in _SHAPE if _comparable(before.get(key)) != _comparable(now.get(key))]
    if odd:
        told = "; ".join(
            f"{key} is {_comparable(before.get(key))} there, {_comparable(now.get(key))} here" for key in odd
        )
        raise UsageError(
            "the training cannot start from an adapter of another shape",
            where="train.start_from",
            why=told,
            remedy="give train.rank, train.alpha, train.adapter, train.rslora and train.target_modules its values",
        )
    tensors = load_file(str(folder / WEIGHTS))
    _check_same_tensors(get_peft_model_state_dict(adapted), tensors, folder)
    set_peft_model_state_dict(adapted, tensors)


def _check_same_tensors(wanted: dict[str, torch.Tensor], found: dict[str, torch.Tensor], folder: Path) -> None:
    """Every weight that is learned has to come from the earlier adapter: a part of it would quietly start fresh."""
    told = [f"{name} is not in it" for name in sorted(wanted.keys() - found.keys())]
    told += [f"it has {name}, and this model has no such layer" for name in sorted(found.keys() - wanted.keys())]
    told += [
        f"{name} has the shape {tuple(found[name].shape)} there, {tuple(wanted[name].shape)} here"
        for name in sorted(wanted.keys() & found.keys())
        if wanted[name].shape != found[name].shape
    ]
    if told:
        raise UsageError(
            "the training cannot start from an adapter of other layers",
            where="train.start_from",
            why=f"{folder / WEIGHTS}: {told[0]}" + (f"; and {len(told) - 1} more" if told[1:] else ""),
            remedy="give an adapter that was trained on this base model with the same train.target_modules",
        )


def _comparable(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else bool(value) if isinstance(value, bool | None) else value


def write(adapted: Any, job: Job) -> Digest:
    """Write the result to the job's folder in bf16, the type it is computed in; returns its digest.

    The magnitudes of DoRA stay in fp32: they scale a layer's whole output, so their rounding would be seen in it.
    """
    if job.config.adapter == "full":
        tensors, config = whole_model.write(adapted, job)
        return adapter_digest(tensors, config)
    tensors = {name: _kept(name, tensor) for name, tensor in get_peft_model_state_dict(adapted).items()}
    config = _plain_config(adapted, job)
    save_file(tensors, str(job.work / WEIGHTS), metadata=notes_of(job.config, job.base))
    sort_notes(job.work / WEIGHTS)
    write_atomically(job.work / CONFIG, json.dumps(config, indent=1, sort_keys=True))
    return adapter_digest(tensors, config)


def _kept(name: str, tensor: torch.Tensor) -> torch.Tensor:
    kind = torch.float32 if name.endswith(_MAGNITUDE) else torch.bfloat16
    return tensor.detach().to("cpu", kind).contiguous()


def _plain_config(adapted: Any, job: Job) -> dict[str, Any]:
    plain = _plain(adapted.peft_config["default"].to_dict())
    plain |= {"base_model_name_or_path": job.base.name, "inference_mode": True}
    plain["peft_version"] = importlib.metadata.version("peft")
    return dict(json.loads(json.dumps(plain, default=str)))


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    return {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}


def adapter_digest(tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> Digest:
    """Identity of an adapter: its numbers and what its configuration computes with them."""
    numbers = [
        [name, str(t.dtype), list(t.shape), digest_bytes(t.contiguous().view(torch.uint8).numpy().tobytes())]
        for name, t in sorted(tensors.items())
    ]
    return digest_of([numbers, {key: value for key, value in config.items() if key not in _INCIDENTAL}])
