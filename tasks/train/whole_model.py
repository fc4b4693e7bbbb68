"""Full fine-tuning: every weight is learned, in fp32, and computed with in bf16 where the device multiplies that.

The fp32 weights are the master copy: at a usual learning rate most updates are smaller than the last bit of a bf16
weight and would be rounded away. Layers compute with bf16 copies that are made on the way (autocast).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from tasks.adapters.threads import physical_cores
from tasks.adapters.weight_files import sort_notes
from tasks.errors import UsageError
from tasks.inference.weights import WHOLE_MODEL, is_whole_model
from tasks.train.layers import prepare_layers
from tasks.train.plan import Decisions, Job
from tasks.train.start import notes_of

CONFIG = "config.json"
# Where a model was made and by which release of the library: not part of what it is.
_INCIDENTAL = frozenset({"_name_or_path", "transformers_version"})


def build(job: Job, decisions: Decisions) -> Any:
    """The base model (or the whole model to start from) with all its weights to be learned."""
    folder = job.start or Path(job.base.path)
    if job.start and not is_whole_model(job.start):
        raise UsageError(
            "the training cannot start from this",
            where="train.start_from",
            why="full training goes on from a fully trained model, and this is an adapter",
            remedy="train on with the adapter's own kind",
        )
    logging.disable_progress_bar()
    torch.set_num_threads(physical_cores())
    torch.manual_seed(job.config.seed)
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32, local_files_only=True)
    model = model.to(decisions.device.value).requires_grad_(True)
    if decisions.computed_in == "bf16":
        _compute_in_bf16(model)
    prepare_layers(model, decisions)
    return model


def _compute_in_bf16(model: Any) -> None:
    """Let decoder and head compute in bf16 from the embeddings on, whoever calls them."""
    decoder, embeddings, head = model.get_decoder(), model.get_input_embeddings(), model.get_output_embeddings()
    compute, look_up, multiply, device = decoder.forward, embeddings.forward, head.forward, model.device.type

    def in_bf16(ids: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = look_up(ids)
        return found.to(torch.bfloat16)

    def autocast(*arguments: Any, **named: Any) -> Any:
        with torch.autocast(device, torch.bfloat16):
            out = compute(*arguments, **named)
        out.last_hidden_state = out.last_hidden_state.to(torch.bfloat16)
        return out

    def head_in_bf16(states: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device, torch.bfloat16):
            logits: torch.Tensor = multiply(states)
        return logits

    embeddings.forward, decoder.forward, head.forward = in_bf16, autocast, head_in_bf16


def write(model: Any, job: Job) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Write weights (bf16) and configuration to the job's folder; what was written, for its digest.

    A weight that is used in two places, as a head that is the embedding, is written once.
    """
    tensors: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            tensors[name] = tensor.detach().to("cpu", torch.bfloat16).contiguous()
    save_file(tensors, str(job.work / WHOLE_MODEL), metadata=notes_of(job.config, job.base))
    sort_notes(job.work / WHOLE_MODEL)
    shutil.copyfile(Path(job.base.path) / CONFIG, job.work / CONFIG)
    config = json.loads((job.work / CONFIG).read_text(encoding="utf-8"))
    return tensors, {key: value for key, value in config.items() if key not in _INCIDENTAL}
