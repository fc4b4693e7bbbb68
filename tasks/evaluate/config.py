"""Parameters of the comparison on held-out rows."""

from __future__ import annotations

from pydantic import Field

from tasks.contracts import Record


class EvaluateConfig(Record):
    max_rows: int | None = Field(None, ge=1, description="Evaluate a seeded sample of held-out rows; empty: all.")
    fields: tuple[str, ...] | None = Field(
        None, description="Structured fields of a JSON answer that must be right; empty: found in the training answers."
    )
    examples_for_base: int = Field(2, ge=0, le=8, description="Worked examples in the base model's prompt.")
    max_new_tokens: int | None = Field(
        None, ge=1, description="Longest answer; empty: from the training answers' lengths."
    )
    batch_rows: int = Field(32, ge=1, description="Rows generated at once.")
    retention: bool = Field(True, description="Ask general-knowledge questions before and after.")
    seed: int = Field(17, ge=0, description="Seed of sampling and of the bootstrap.")
