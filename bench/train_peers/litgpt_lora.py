"""LoRA fine-tuning with LitGPT: the loop of `litgpt finetune_lora` (litgpt/finetune/lora.py, `fit`) on our rows.

All linear layers are adapted, precision is bf16-true (the documentation's advice where memory counts) or 32-true on a
processor without instructions for bf16, micro-batches are padded and of the recipes' size for this model.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import lightning as lightning_fabric
import torch
from litgpt.lora import GPT, Config, mark_only_lora_as_trainable
from litgpt.scripts.convert_hf_checkpoint import convert_hf_checkpoint
from litgpt.utils import chunked_cross_entropy
from turns import IGNORED, Turns, computed_in, mean_loss, options, rows_of, tell

MICRO_BATCH = 8


def main() -> None:
    asked = options()
    fabric = lightning_fabric.Fabric(
        accelerator="cpu", devices=1, precision="bf16-true" if computed_in() == torch.bfloat16 else "32-true"
    )
    with fabric.init_module():
        model = GPT(Config.from_name("SmolLM2-135M-Instruct", **adapters(asked["rank"])))
    weights = torch.load(converted(Path(asked["model"])) / "lit_model.pth", mmap=True, weights_only=True)
    model.load_state_dict(weights, strict=False)
    mark_only_lora_as_trainable(model)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=asked["learning_rate"])
    model, optimizer = fabric.setup(model, optimizer)
    rows, validation = rows_of(asked["rows"]), rows_of(asked["validation"])
    model.max_seq_length = max(len(row["input_ids"]) for row in rows + validation)
    turns = Turns(lambda: mean_loss(model, validation))
    tell(ready=True)
    train(fabric, model, optimizer, rows, turns, asked)
    turns.wait()


def adapters(rank: int) -> dict[str, Any]:
    everywhere = dict.fromkeys(("query", "key", "value", "projection", "mlp"), True)
    return {"lora_r": rank, "lora_alpha": 2 * rank, **{f"lora_{name}": on for name, on in everywhere.items()}}


def converted(model: Path) -> Path:
    """The base model in LitGPT's own layout."""
    folder = Path(tempfile.mkdtemp(prefix="litgpt-bench-"))
    for name in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(model / name, folder / name)
    convert_hf_checkpoint(folder, model_name="SmolLM2-135M-Instruct", dtype=str(computed_in()).removeprefix("torch."))
    return folder


def train(fabric: Any, model: Any, optimizer: Any, rows: Any, turns: Turns, asked: dict[str, Any]) -> None:
    chance = torch.Generator().manual_seed(17)
    order: list[int] = []
    for step in range(asked["steps"]):
        if len(order) < asked["batch_rows"]:
            order += torch.randperm(len(rows), generator=chance).tolist()
        batch, order = [rows[i] for i in order[: asked["batch_rows"]]], order[asked["batch_rows"] :]
        for group in optimizer.param_groups:
            group["lr"] = asked["learning_rate"] * rate_share(step, asked["steps"])
        turns.wait()
        parts = [batch[at : at + MICRO_BATCH] for at in range(0, len(batch), MICRO_BATCH)]
        loss = sum(gradients(fabric, model, part) / len(parts) for part in parts)
        optimizer.step()
        optimizer.zero_grad()
        turns.done(sum(len(row["input_ids"]) for row in batch), loss)


def gradients(fabric: Any, model: Any, rows: Any) -> float:
    width = max(len(row["input_ids"]) for row in rows)
    ids = torch.tensor([row["input_ids"] + [0] * (width - len(row["input_ids"])) for row in rows])
    targets = torch.tensor([row["labels"] + [IGNORED] * (width - len(row["labels"])) for row in rows])
    logits = model(ids, lm_head_chunk_size=128)
    logits[-1] = logits[-1][..., :-1, :]
    loss = chunked_cross_entropy(logits, targets[..., 1:])
    fabric.backward(loss)
    return float(loss.detach())


def rate_share(step: int, steps: int) -> float:
    """Linear warm-up over 5 % of the steps, then a cosine, as the other trainers have it."""
    warmup = round(0.05 * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


if __name__ == "__main__":
    main()
