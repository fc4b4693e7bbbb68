"""Supervised fine-tuning as TRL's documentation shows it: SFTTrainer with a LoraConfig and, for QLoRA, a 4-bit base.

What is set differs from the documentation's defaults only where both sides have to do the same: model, rows, effective
batch, rank, learning rate and its schedule. Activation checkpointing, micro-batch, attention: TRL's defaults. bf16 is
its default too; on a processor without instructions for it both sides compute in fp32.
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, TrainerCallback
from trl import SFTConfig, SFTTrainer

from bench.train_peers.turns import Turns, computed_in, mean_loss, options, rows_of, tell


def main() -> None:
    asked = options()
    settings: dict[str, Any] = {
        "output_dir": tempfile.mkdtemp(prefix="trl-bench-"),
        "per_device_train_batch_size": 8,  # the default
        "gradient_accumulation_steps": asked["batch_rows"] // 8,
        "learning_rate": asked["learning_rate"],
        "lr_scheduler_type": "cosine",
        "warmup_steps": round(0.05 * asked["steps"]),
        "max_steps": asked["steps"],
        "max_length": None,  # no row is cut
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": computed_in() == torch.bfloat16,
        "dataset_kwargs": {"skip_prepare_dataset": True},  # the rows are token ids already
        "seed": 17,
    }
    trainer = SFTTrainer(
        model=load(asked["model"], asked["adapter"]),
        args=SFTConfig(**settings | asked.get("settings", {})),
        train_dataset=Dataset.from_list(rows_of(asked["rows"])),
        processing_class=AutoTokenizer.from_pretrained(asked["model"]),
        peft_config=None if asked["adapter"] == "full" else lora(asked["rank"]),
    )
    validation = rows_of(asked["validation"])
    turns = Turns(lambda: validated(trainer.model, validation))
    trainer.add_callback(InTurns(trainer, turns))
    tell(ready=True)
    trainer.train()
    turns.wait()


def load(folder: str, adapter: str) -> Any:
    kind = computed_in()
    if adapter != "qlora":
        return AutoModelForCausalLM.from_pretrained(folder, dtype=kind)
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=kind,
    )
    return AutoModelForCausalLM.from_pretrained(folder, dtype=kind, quantization_config=config, device_map={"": "cpu"})


def lora(rank: int) -> Any:
    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")


def validated(model: Any, rows: Any) -> float:
    model.eval()
    loss = mean_loss(lambda ids: model(input_ids=ids).logits, rows)
    model.train()
    return loss


class InTurns(TrainerCallback):  # type: ignore[misc]
    """Each optimiser step waits for its turn."""

    def __init__(self, trainer: Any, turns: Turns) -> None:
        self.trainer, self.turns, self.seen = trainer, turns, 0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.turns.wait()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        seen = int(self.trainer._total_train_tokens)  # of the attention masks: padding is not in it
        self.turns.done(seen - self.seen, 0.0)
        self.seen = seen


if __name__ == "__main__":
    main()
