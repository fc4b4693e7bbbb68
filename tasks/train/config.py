"""Parameters of the base model and of training, as a person gives them.

A field that is left out has the value of the preset; `auto` has it worked out from data and model. `recipe.py` says
which value each field ends up with and why.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tasks.contracts import Record


def _from_yaml(value: Any) -> Any:
    """YAML reads an unquoted on or off as a truth value."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


Preset = Literal["quick-start", "conservative", "balanced", "aggressive", "quality", "cost"]
Method = Literal["sft", "dpo", "ipo", "kto", "grpo"]
Adapter = Literal["qlora", "lora", "lora_8bit", "dora", "full"]
Engine = Literal["auto", "single", "ddp", "fsdp2", "zero2", "zero3"]
Auto = Literal["auto"]
Switch = Annotated[Literal["auto", "on", "off"], BeforeValidator(_from_yaml)]
Count = Annotated[int, Field(ge=1)]
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ModelConfig(Record):
    base: str = Field("smollm2-135m", description="smollm2-135m (built in), hf:owner/name@revision, or a folder.")


class TrainConfig(Record):
    preset: Preset = Field("balanced", description="Where the values come from that are left out below.")
    method: Method = Field("sft", description="sft learns answers; dpo, ipo and kto learn preferences between answers.")
    start_from: str | None = Field(
        None, description="Go on from a registered model (NAME@ALIAS or NAME@VERSION) or an adapter's folder."
    )
    adapter: Adapter = Field(
        "qlora",
        description="qlora keeps the frozen base in NF4, lora_8bit in 8 bits, lora and dora dense; full trains all.",
    )
    rslora: bool = Field(False, description="Scale the update by alpha/sqrt(rank) instead of alpha/rank.")
    rank: Count | Auto | None = Field(None, description="Rank of the adapter matrices; familiar: 8 to 64.")
    alpha: Count | Auto | None = Field(None, description="LoRA scaling numerator; familiar: once or twice the rank.")
    dropout: float | None = Field(None, ge=0, lt=1, description="Dropout on the adapter's input.")
    target_modules: tuple[str, ...] | None = Field(None, description="Names of adapted layers; all-linear: all.")
    learning_rate: Amount | Auto | None = Field(None, description="Peak learning rate (linear warm-up, cosine decay).")
    warmup_share: float | None = Field(None, ge=0, lt=1, description="Share of the steps that warm up (0..1).")
    weight_decay: float | None = Field(None, ge=0, description="Decoupled weight decay of AdamW.")
    max_gradient_norm: Amount | None = Field(None, description="Longer gradients are scaled down to this norm.")
    epochs: Amount | Auto | None = Field(None, description="Passes over the training rows.")
    batch_rows: Count | Auto | None = Field(None, description="Rows per optimiser step (effective batch).")
    micro_batch_rows: Count | Auto | None = Field(None, description="Rows per forward pass; divides batch_rows.")
    max_rows: int | None = Field(None, ge=1, description="Train on a seeded sample of this many rows; empty: all.")
    sequence_tokens: Count | Auto | None = Field(None, description="Longest row, and length of a pack, in tokens.")
    packing: Switch = Field("auto", description="Several rows in one sequence, isolated from one another.")
    loss_on: Literal["completion", "assistant", "all"] = Field(
        "completion", description="Tokens that are learned: the last answer, all answers, or everything."
    )
    samples_per_prompt: int = Field(4, ge=2, description="grpo: answers sampled for each prompt and step.")
    answer_tokens: Count = Field(128, description="grpo: longest sampled answer, in tokens.")
    beta: float | None = Field(None, gt=0, description="Preferences: how closely the model stays to its start.")
    validation_share: float | None = Field(
        None, ge=0, le=0.5, description="Share of training rows kept for validation."
    )
    eval_steps: Count | Auto | None = Field(None, description="Optimiser steps between two looks at validation.")
    early_stopping_evals: int | None = Field(
        None, ge=0, description="Stop after this many looks without a better validation loss; 0: never."
    )
    seed: int = Field(17, ge=0, description="Seed of sampling, initialisation and dropout.")
    checkpoint_steps: int = Field(10, ge=1, description="Optimiser steps between checkpoints.")
    fused_layers: Switch = Field("auto", description="Fewer, larger operations with the same values.")
    learned_head: Switch = Field("auto", description="Only learned tokens reach the vocabulary, in slices.")
    compile: Switch = Field("auto", description="torch.compile; auto: by the run's length.")
    expand_nf4: Switch = Field("auto", description="Expand NF4 weights once: same numbers, faster where memory allows.")
    activation_checkpointing: Switch = Field("auto", description="Compute activations again instead of keeping them.")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="Type that is computed in; auto: bf16 where the device has instructions for it, else fp32."
    )
    engine: Engine = Field("auto", description="How several processes share a training.")
    processes: int | None = Field(None, ge=1, description="Processes of a training; empty: one for each GPU, else one.")
    max_attempts: int = Field(5, ge=1, description="Starts in a row without a new checkpoint before it is given up.")
    timeout_minutes: float = Field(1440, gt=0, description="Training is stopped and fails after this time.")
    max_cost: float | None = Field(None, gt=0, description="Refuse a training that is estimated to cost more.")
