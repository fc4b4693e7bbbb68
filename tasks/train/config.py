"""Parameters of the base model and of training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.contracts import Record


class ModelConfig(Record):
    base: str = Field("smollm2-135m", description="smollm2-135m (built in), hf:owner/name@revision, or a folder.")


class TrainConfig(Record):
    adapter: Literal["qlora", "lora"] = Field("qlora", description="qlora keeps the frozen base in NF4, lora in bf16.")
    rank: int = Field(16, ge=1, le=256, description="Rank of the adapter matrices.")
    alpha: int = Field(32, ge=1, description="LoRA scaling numerator; the update is scaled by alpha/rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on the adapter's input.")
    learning_rate: float = Field(1e-3, gt=0, le=0.1, description="Peak learning rate (linear warm-up, cosine decay).")
    warmup_share: float = Field(0.05, ge=0, lt=1, description="Share of the steps that warm up (0..1).")
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay of AdamW.")
    epochs: float = Field(2.0, gt=0, description="Passes over the training rows.")
    batch_rows: int = Field(16, ge=1, description="Rows per optimiser step (effective batch).")
    micro_batch_rows: int = Field(16, ge=1, description="Rows per forward pass; divides batch_rows.")
    max_rows: int | None = Field(None, ge=1, description="Train on a seeded sample of this many rows; empty: all.")
    loss_on: Literal["completion", "all"] = Field("completion", description="Tokens that are learned.")
    seed: int = Field(17, ge=0, description="Seed of sampling, initialisation and dropout.")
    checkpoint_steps: int = Field(10, ge=1, description="Optimiser steps between checkpoints.")
    compile: Literal["auto", "on", "off"] = Field("auto", description="torch.compile; auto: by the run's length.")
    expand_nf4: Literal["auto", "on", "off"] = Field(
        "auto", description="Expand NF4 weights once to bf16: same numbers, faster where memory allows."
    )
    timeout_minutes: float = Field(1440, gt=0, description="Training is stopped and fails after this time.")
