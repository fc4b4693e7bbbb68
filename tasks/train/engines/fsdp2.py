"""FSDP2: every process keeps a part of each weight; a block's weights are gathered when it computes, then freed.

A small adapter is not split: each process has it whole, and its gradients are summed as in data parallelism, so
checkpoints, clipping and the optimiser are the same as there. Where all weights are learned, all are split. 4-bit
weights are stored as bf16 (`bnb_4bit_quant_storage`), or FSDP would leave them whole in every process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tasks.errors import EnvironmentUnusable
from tasks.train.adapter import causal_model

SETTINGS = Path(__file__).with_name("fsdp2.yaml")


def split(model: Any, device: str) -> None:
    """Split a model in place over all processes of the group.

    The head stays whole: losses multiply with slices of it, outside of the decoder's forward pass.
    """
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard

    _refuse_bytes(model)
    settings = read_settings()
    causal = causal_model(model)
    whole = _kept_whole(model, causal)
    for parameter in whole:
        parameter.data = parameter.data.to(device)
    common = {
        "mesh": init_device_mesh(device, (torch.distributed.get_world_size(),)),
        "reshard_after_forward": settings["fsdp_reshard_after_forward"],
        "offload_policy": CPUOffloadPolicy() if settings["fsdp_offload_params"] else OffloadPolicy(),
        "ignored_params": whole,
    }
    decoder = causal.get_decoder()
    for block in decoder.layers:
        fully_shard(block, **common)
    fully_shard(decoder, **common)
    for part in _split_parts(model):
        part.set_force_sum_reduction_for_comms(True)
        part.set_gradient_divide_factor(1.0)  # the loss is divided by the units of all processes already


def _kept_whole(model: Any, causal: Any) -> set[Any]:
    """The head, and what is learned where that is an adapter."""
    learned = {parameter for parameter in model.parameters() if parameter.requires_grad}
    adapter = learned if len(learned) < len(set(model.parameters())) else set()
    return {*adapter, *causal.get_output_embeddings().parameters()}


def unite(model: Any) -> None:
    """Where all weights were learned and split: have every process hold them whole. The model trains no more then."""
    import torch

    split = {name: p for name, p in model.named_parameters(remove_duplicate=False) if p.requires_grad and _is_split(p)}
    for name, parameter in split.items():
        owner, _, own_name = name.rpartition(".")
        whole = torch.nn.Parameter(parameter.full_tensor(), requires_grad=True)
        model.get_submodule(owner).register_parameter(own_name, whole)


def _is_split(parameter: Any) -> bool:
    from torch.distributed.tensor import DTensor

    return isinstance(parameter, DTensor)


def _split_parts(model: Any) -> list[Any]:
    from torch.distributed.fsdp import FSDPModule

    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def read_settings() -> dict[str, Any]:
    """The committed settings."""
    return dict(yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))["fsdp_config"])


def _refuse_bytes(model: Any) -> None:
    """Weights stored as bytes cannot be split: they have no gradient type."""
    odd = [name for name, parameter in model.named_parameters() if not parameter.is_floating_point()]
    if odd:
        raise EnvironmentUnusable(
            "these weights cannot be split over processes",
            where="train.engine",
            why=f"{len(odd)} weights are stored as bytes, the first is {odd[0]}",
            remedy="use train.adapter qlora or lora, or train.engine ddp",
        )
