"""Base models and what a training makes of them."""

from __future__ import annotations

from pydantic import Field

from tasks.contracts.record import Digest, Quantization, Record


class BaseModelRef(Record):
    """A base model on disk: safetensors, tokenizer and chat template, identified by content."""

    name: str = Field(description="As configured: smollm2-135m, hf:owner/name@rev, or a folder.")
    path: str
    digest: Digest = Field(description="Over weights, configuration, tokenizer and template.")
    tokenizer_digest: Digest = Field(description="Over tokenizer files and chat template only.")
    parameters: int


class LossPoint(Record):
    """One point of the loss curve."""

    step: int
    loss: float
    learning_rate: float
    tokens: int = Field(description="Tokens seen so far, padding excluded.")
    gradient_norm: float | None = Field(None, description="Length of the gradient before it was clipped.")
    validation_loss: float | None = Field(None, description="At steps with a look at validation.")


class ValidationPoint(Record):
    """One look at validation; step 0 is the model before training."""

    step: int
    loss: float


class Forecast(Record):
    """What a training was estimated to take before its first step."""

    seconds: float = Field(description="From the first step to the last; validation and checkpoints included.")
    low_seconds: float
    high_seconds: float
    memory_bytes: int = Field(description="Highest memory of one process.")
    device: str = Field(description="What it was estimated for, as its driver or system names it.")
    price_per_hour: float | None = Field(None, description="None: the price table does not know the device.")
    currency: str = ""
    calibrated: bool = Field(description="Whether this training's own micro-batches were measured.")
    calibration_seconds: float = 0.0
    first_seconds: float = Field(0.0, description="Compilation, which takes place before the first step is counted.")
    corrected_by: int = Field(0, description="Earlier trainings that the estimate was corrected by.")
    raw_seconds: float = Field(0.0, description="Before that correction.")
    raw_memory_bytes: int = 0
    flops: float = Field(0.0, description="Of all steps as they run.")
    time_parts: dict[str, float] = Field(default_factory=dict, description="Seconds by part.")
    memory_parts: dict[str, int] = Field(default_factory=dict, description="Bytes by part.")

    @property
    def cost(self) -> float | None:
        return None if self.price_per_hour is None else self.seconds / 3600 * self.price_per_hour


class TrainedModel(Record):
    """An adapter in the store, with everything needed to load it the way it was trained."""

    uri: str = Field(description="Folder with adapter_model.safetensors, adapter_config.json, training.json.")
    adapter_digest: Digest
    base: BaseModelRef
    dataset: str = Field(description="Address of the dataset version.")
    dataset_digest: Digest
    quantization: Quantization = Field(description="How the frozen base weights were stored in training.")
    adapter: str = Field("", description="qlora, lora, lora_8bit, dora or full; empty: trained before this was noted.")
    method: str = Field("sft", description="sft, dpo, ipo, kto or grpo.")
    started_from: Digest = Field("", description="Adapter or model that training went on from; empty: the base.")
    measures: dict[str, float] = Field(
        default_factory=dict, description="What the method measured on rows it did not learn, e.g. preference accuracy."
    )
    steps: int
    rows_seen: int
    rows_available: int
    tokens_per_second: float
    final_loss: float
    curve: tuple[LossPoint, ...]
    decisions: dict[str, str] = Field(description="What was decided at run time, with the reason.")
    recipe: dict[str, str] = Field(
        default_factory=dict, description="Each value of the training with where it came from and why; what is unusual."
    )
    seconds: float
    interruptions: int = 0
    estimate: Forecast | None = Field(None, description="What it was estimated to take; None: trained without one.")
    peak_memory_bytes: int = Field(0, description="Highest memory of its process while it trained; 0: not measured.")
    repairs: tuple[str, ...] = Field((), description="What repairs changed: failure, step and change, in words.")
    history: tuple[str, ...] = Field((), description="What interrupted the training, and how it went on.")
    validation: tuple[ValidationPoint, ...] = Field((), description="Looks at validation, step 0 included.")
    validation_rows: int = Field(0, description="Training rows that were kept for validation, not trained on.")
    best_step: int | None = Field(None, description="Step whose adapter was written; None: the last one.")
    new: bool = Field(True, description="False when the adapter had been trained before this run.")
