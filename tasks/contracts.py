"""Frozen records that pass between stages. Stages exchange references (URI, digest, counts), never payloads."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Digest = str
Split = Literal["train", "test"]
Outcome = Literal["kept", "merged", "quarantined"]
Quantization = Literal["nf4", "int8", "none"]


class Record(BaseModel):
    """Base of every record and configuration: immutable, unknown keys are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# --- rows -----------------------------------------------------------------------------------------------------


class ToolCall(Record):
    """One call that an assistant turn makes."""

    id: str = ""
    name: str
    arguments: str = Field(description="JSON object as text, in the writing of the source.")


class Message(Record):
    """One turn of a conversation in the chat form every row is brought to."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = Field("", description="In a turn of a tool: the call it answers.")
    name: str = Field("", description="In a turn of a tool: which tool speaks.")


class RowOrigin(Record):
    """Where a row's bytes are. `row_id` is derived from `source_digest` and `record_index` only.

    A member of an archive is a source of its own: `source_digest`, offset and line are those of its unpacked bytes.
    """

    source_uri: str = Field(description="Path or URI of the source as the user named it, without credentials.")
    source_digest: Digest = Field(description="SHA-256 of the whole source file, unpacked.")
    member: str = Field("", description="Path inside archives, outermost first, parted by `!/`; empty for plain files.")
    container_digest: Digest = Field("", description="SHA-256 of the packed file as it lies at the source.")
    record_index: int = Field(
        ge=0, description="Zero-based index of the record in its source (line, element, section)."
    )
    byte_offset: int = Field(ge=0, description="Where the record starts in the source, in bytes; 0 for whole files.")
    byte_length: int = Field(0, ge=0, description="Bytes of the record; 0 where it has no bytes of its own (Parquet).")
    line: int = Field(ge=1, description="One-based line where the record starts; 1 in files without lines.")


class Row(Record):
    """One example on its way through the data stages, with what happened to it so far.

    `messages` is empty only where a record could not be understood; `raw_excerpt` then holds redacted text.
    """

    row_id: str = Field(description="`<first 16 hex of source digest>:<record index>`.")
    origin: RowOrigin
    messages: tuple[Message, ...] = ()
    raw_excerpt: str = Field("", description="First 500 characters, redacted, of a record that could not be read.")
    shape: str = Field("", description="Detected row shape, e.g. chat, prompt_completion.")
    declared_split: Split | None = Field(None, description="The split its source was given for, if any.")
    rejected: str = Field("", description="Preference pairs: the answer that was not chosen; the last turn was.")
    tools: str = Field("", description="Definitions of the tools the conversation could call: JSON list as text.")
    metadata: dict[str, str] = Field(default_factory=dict, description="agent, conversation_id, timestamp, rating, ...")
    subjects: tuple[str, ...] = Field(
        (), description="Keyed hashes of the personal identifiers that were found before redaction; erasure finds them."
    )
    quality: int | None = Field(None, ge=0, le=100, description="Quality score, see docs/data-quality.md; None before.")
    repair: str = Field("", description="Quarantined rows: the proposed repair, in words.")
    redactions: dict[str, int] = Field(default_factory=dict, description="Entity → how many were replaced.")
    reported: dict[str, int] = Field(default_factory=dict, description="Entity → how many were found and left.")
    steps: tuple[str, ...] = Field((), description="Transformations applied, in order.")
    outcome: Outcome = "kept"
    reason: str = Field("", description="Why it was merged or quarantined: code and plain words.")
    yields_to: str = Field("", description="row_id of the row a merged row yielded to.")
    split: Split | None = None

    @property
    def prompt(self) -> tuple[Message, ...]:
        """Everything before the last assistant turn."""
        return self.messages[:-1] if self.messages and self.messages[-1].role == "assistant" else self.messages

    @property
    def answer(self) -> str:
        """Content of the last assistant turn; empty where there is none."""
        return self.messages[-1].content if self.messages and self.messages[-1].role == "assistant" else ""


class RowCounts(Record):
    """What happened to how many rows. Always: rows_in = kept + merged + quarantined."""

    rows_in: int = Field(ge=0)
    kept: int = Field(ge=0)
    merged: int = Field(ge=0)
    quarantined: int = Field(ge=0)
    redacted: int = Field(ge=0, description="Rows in which at least one personal value was replaced.")


class Rows(Record):
    """Reference to all rows after a data stage: shards of JSONL, listed in canonical order by `output.json`."""

    uri: str
    digest: Digest
    counts: RowCounts
    reasons: dict[str, int] = Field(default_factory=dict, description="reason code → rows, merged and quarantined.")


class ValidatedRows(Record):
    """Rows after the quality rules, with the report people read."""

    rows: Rows
    rules: int = Field(description="Number of expectations that were loaded and evaluated.")
    warnings: tuple[str, ...] = ()
    report_uri: str = Field(description="Folder with Data Docs.")


class DatasetVersion(Record):
    """An immutable dataset version `ds://project/name@x.y.z`, identified by a digest over its canonical rows."""

    address: str
    version: str
    digest: Digest
    uri: str = Field(
        description="Folder with train.jsonl, test.jsonl, rows.jsonl, profile.json, card.md, card.png, manifest.json."
    )
    manifest_digest: Digest
    counts: RowCounts
    reasons: dict[str, int]
    train_rows: int
    test_rows: int
    tokenizer_digest: Digest
    new: bool = Field(description="False when a version with this digest existed before this run.")
    warnings: tuple[str, ...] = ()


# --- models ---------------------------------------------------------------------------------------------------


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


class Estimate(Record):
    """A mean with its two-sided confidence interval."""

    mean: float
    low: float
    high: float


class SystemScores(Record):
    """One system (base, tuned, champion, majority, nearest) on the held-out rows. Shares are in 0..1."""

    exact_match: Estimate = Field(description="All structured fields right (or the whole answer, without fields).")
    field_accuracy: Estimate = Field(description="Mean share of structured fields that are right.")
    per_field: dict[str, float]
    token_f1: Estimate
    rouge_l: Estimate
    valid_format: float = Field(description="Share of answers that parse into the expected form.")
    perplexity: float | None = Field(None, description="Of the reference answers; None where the system is no model.")
    retention: float | None = Field(None, description="Share of general-knowledge probes answered right.")
    seconds_per_answer: float | None = None


class EvalReport(Record):
    """All systems on the same rows; per-row scores lie in the store."""

    uri: str = Field(description="Folder with answers.jsonl (generated outputs and scores per row and system).")
    digest: Digest
    rows: int = Field(description="Held-out rows that were evaluated.")
    rows_available: int
    metric: Literal["exact_match", "token_f1"] = Field(description="Metric the gate compares.")
    metric_reason: str
    fields: tuple[str, ...] = Field(description="Structured fields that were compared; empty for free text.")
    systems: dict[str, SystemScores]
    differences: dict[str, Estimate] = Field(description="Paired `tuned - other` in the gate's metric, with interval.")
    seconds: float


class GateReason(Record):
    """One rule with what it saw."""

    rule: str
    passed: bool
    text: str


class GateDecision(Record):
    """Whether the candidate may be released, and why."""

    passed: bool
    reasons: tuple[GateReason, ...]

    @property
    def refusals(self) -> tuple[str, ...]:
        return tuple(r.text for r in self.reasons if not r.passed)


class RegisteredModel(Record):
    """A version in the MLflow registry."""

    name: str
    version: int
    alias: Literal["champion", "challenger", "previous", ""] = ""
    run_id: str
    adapter_digest: Digest
    new: bool = Field(description="False when this adapter had been registered before.")
    url: str = Field("", description="Page of the version in a running MLflow; empty without a server.")


class ServedModel(Record):
    """A registered version as it lies on this machine, ready to be loaded: the same for champion, gate and gateway."""

    name: str
    version: int
    adapter_path: str = Field(description="Local folder with the adapter.")
    adapter_digest: Digest
    base: BaseModelRef
    quantization: Quantization
    dataset: str = Field(description="Address of the dataset version it was trained on.")
    dataset_uri: str
    redacted_entities: tuple[str, ...] = Field((), description="Entities its training data was freed of.")
    phone_regions: tuple[str, ...] = Field((), description="Countries whose phone number formats were recognised.")


class Release(Record):
    """What became of a release attempt."""

    model: RegisteredModel
    status: Literal["promoted", "already_champion", "waiting_for_approval", "kept_previous"]
    text: str


class DriftReport(Record):
    """Whether recent requests differ from what the serving version was trained on."""

    model: str
    version: int = Field(description="Version whose training data was compared.")
    dataset: str = Field(description="Address of the dataset version it was trained on.")
    drifted: bool
    p_value: float | None = Field(description="Probability of such a distance by chance; None: too few requests.")
    statistic: float | None = Field(description="Distance between requests and training prompts.")
    requests: int = Field(ge=0, description="Requests in the window.")
    reasons: tuple[str, ...] = Field(description="The finding in words, without personal data.")
    new_terms: tuple[str, ...] = Field((), description="Words of several requests that no training prompt holds.")


class Candidate(Record):
    """A trained model with its evidence; `registered` is None where the gate refused it."""

    trained: TrainedModel
    evaluation: EvalReport
    gate: GateDecision
    registered: RegisteredModel | None = None


class RunOutcome(Record):
    """How a run of the main job ended: what the terminal, the JSON output and the summary page show."""

    status: Literal["done", "unchanged", "refused", "data_refused", "failed", "waiting_for_approval", "interrupted"]
    exit_code: int
    dataset: DatasetVersion | None = None
    trained: bool = Field(False, description="Whether this run trained; False when the adapter was there already.")
    model: TrainedModel | None = None
    evaluation: EvalReport | None = None
    gate: GateDecision | None = None
    registered: RegisteredModel | None = None
    release: Release | None = None
    reasons: tuple[str, ...] = ()
    seconds: dict[str, float] = Field(default_factory=dict, description="Wall seconds by stage.")
    run_url: str | None = None
