"""One set of weights from base and adapter, and what merging changed in the answers."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from tasks.contracts import Record, Row, ServedModel

_BATCH_ROWS = 8
_MAX_NEW_TOKENS = 128


class MergeDifference(Record):
    """The merged weights beside the adapter as it was trained, on the same held-out rows."""

    rows: int
    same_answers: float = Field(description="Share of rows with the same greedy answer, letter for letter.")
    loss_before: float = Field(description="Mean loss (nats) of the reference answers' tokens, with the adapter.")
    loss_after: float = Field(description="The same with the merged weights.")


def merge(served: ServedModel, folder: Path) -> None:
    """Write base plus adapter as bf16 weights with the base's configuration.

    The base is read in full precision, never from its 4-bit or 8-bit form, added up in fp32 and rounded once.
    """
    import torch
    from peft import PeftModel
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(served.base.path, dtype=torch.float32, local_files_only=True)
    adapted = PeftModel.from_pretrained(base, served.adapter_path)
    merged = adapted.merge_and_unload(safe_merge=True)
    folder.mkdir(parents=True)
    tensors: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in merged.state_dict().items():
        if tensor.data_ptr() not in seen:  # a head that is the embedding is written once
            seen.add(tensor.data_ptr())
            tensors[name] = tensor.to(torch.bfloat16).contiguous()
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    shutil.copyfile(Path(served.base.path) / "config.json", folder / "config.json")


def difference(served: ServedModel, merged: Path, rows: Sequence[Row]) -> MergeDifference:
    """Ask both for the answers of the rows. Training saw rounded base weights where they were stored in 4 or 8 bits."""
    from tasks.inference.engine import Engine

    found = []
    for adapter, quantization in ((Path(served.adapter_path), served.quantization), (merged, "none")):
        engine = Engine.load(served.base, adapter, quantization)
        answers = engine.generate([row.prompt for row in rows], _MAX_NEW_TOKENS, _BATCH_ROWS)
        losses = engine.answer_losses([row.messages for row in rows], _BATCH_ROWS)
        found.append((answers, sum(loss for loss, _ in losses) / sum(count for _, count in losses)))
    (before, loss_before), (after, loss_after) = found
    same = sum(a == b for a, b in zip(before, after, strict=True)) / len(rows)
    return MergeDifference(rows=len(rows), same_answers=same, loss_before=loss_before, loss_after=loss_after)
