"""What was measured and decided about a model, and how a run ended."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.contracts.models import BaseModelRef, TrainedModel
from tasks.contracts.record import Digest, Precision, Quantization, Record
from tasks.contracts.rows import DatasetVersion


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
    computed_in: Precision | None = Field(None, description="Type of its products; None where the system is no model.")


class EvalReport(Record):
    """All systems on the same rows; per-row scores lie in the store."""

    uri: str = Field(description="Folder with answers.jsonl (generated outputs and scores per row and system).")
    digest: Digest = Field(description="Of what was compared: dataset, candidate, base, champion, configuration.")
    rows: int = Field(description="Held-out rows that were evaluated.")
    rows_available: int
    metric: Literal["exact_match", "token_f1"] = Field(description="Metric the gate compares.")
    metric_reason: str
    fields: tuple[str, ...] = Field(description="Structured fields that were compared; empty for free text.")
    systems: dict[str, SystemScores]
    differences: dict[str, Estimate] = Field(description="Paired `tuned - other` in the gate's metric, with interval.")
    notes: tuple[str, ...] = Field((), description="What a reader of the scores has to know besides.")
    champion_version: int | None = Field(None, description="Version that takes part as champion; None without one.")
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
