"""Parameters of the quality rules."""

from __future__ import annotations

from pydantic import Field, model_validator

from tasks.contracts import Record


class ChecksConfig(Record):
    min_tokens: int = Field(10, ge=1, description="Shortest row in tokens of the model, template included.")
    max_tokens: int = Field(1024, ge=16, description="Longest row in tokens; also the longest training sequence.")
    min_rows: int = Field(10, ge=1, description="Fewer kept rows than this are refused.")
    warn_rows: int = Field(50, ge=1, description="Fewer kept rows than this give a warning.")
    max_quarantined_share: float = Field(0.5, ge=0, le=1, description="A larger share in quarantine is refused.")

    @model_validator(mode="after")
    def _lengths_in_order(self) -> ChecksConfig:
        if self.min_tokens > self.max_tokens:
            raise ValueError("min_tokens is larger than max_tokens")
        return self
