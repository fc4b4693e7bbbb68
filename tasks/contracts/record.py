"""The base of all records, and the words they share."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Digest = str
Split = Literal["train", "test"]
Outcome = Literal["kept", "merged", "quarantined"]
Quantization = Literal["nf4", "int8", "none"]
Precision = Literal["bf16", "fp32"]  # the type that products are computed in


class Record(BaseModel):
    """Base of every record and configuration: immutable, unknown keys are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
