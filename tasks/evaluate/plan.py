"""What a worker has to answer: one record per system, and where its answers lie afterwards."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.adapters.store import stage_key
from tasks.contracts import BaseModelRef, DatasetVersion, Precision, Quantization, Record, ServedModel, TrainedModel
from tasks.evaluate.config import EvaluateConfig

ANSWERS_STAGE = "answers"
REVISION = 2
SystemName = Literal["base", "tuned", "champion"]


class System(Record):
    """One model to ask."""

    name: SystemName
    base: BaseModelRef
    adapter: str | None = Field(None, description="Local folder of the adapter; empty: the base alone.")
    adapter_digest: str = ""
    quantization: Quantization = "none"
    described: bool = Field(False, description="Asked with description and examples, as the untrained base has to be.")

    def key(self, dataset: DatasetVersion, config: EvaluateConfig) -> str:
        """Key of the answers, without the role: a candidate's answers are those of the later champion."""
        return stage_key(
            REVISION, dataset.digest, self.base.digest, self.adapter_digest, self.quantization, self.described, config
        )


class Plan(Record):
    """What a worker process is told."""

    dataset: DatasetVersion
    config: EvaluateConfig
    systems: tuple[System, ...]


class SystemAnswers(Record):
    """One model's answers in the store: answers.jsonl (`AnswerLine`) and retention.jsonl (`ProbeLine`)."""

    uri: str
    rows: int
    max_new_tokens: int
    perplexity: float = Field(description="Of the reference answers, given the plain rows: comparable between systems.")
    retention: float | None = Field(description="Share of probes answered right; None where they were not asked.")
    seconds_per_answer: float
    computed_in: Precision | None = Field(None, description="Type of the products; None where it was not recorded.")
    notes: tuple[str, ...] = Field((), description="What changed how it was asked.")


class AnswerLine(Record):
    """One answer. `row` is the digest of the row's messages: answers outlive a change of row ids."""

    row: str
    answer: str


class ProbeLine(Record):
    question: str
    answer: str
    right: bool


def systems_of(trained: TrainedModel, adapter: str, champion: ServedModel | None) -> tuple[System, ...]:
    """The models to compare: the base as it is (unquantised), the candidate as it was trained, the champion if any."""
    systems = [
        System(name="base", base=trained.base, described=True),
        System(
            name="tuned",
            base=trained.base,
            adapter=adapter,
            adapter_digest=trained.adapter_digest,
            quantization=trained.quantization,
        ),
    ]
    if champion is not None:
        systems.append(
            System(
                name="champion",
                base=champion.base,
                adapter=champion.adapter_path,
                adapter_digest=champion.adapter_digest,
                quantization=champion.quantization,
            )
        )
    return tuple(systems)
