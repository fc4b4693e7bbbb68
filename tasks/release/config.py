"""Parameters of the release."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.contracts import Record


class ReleaseConfig(Record):
    approval: Literal["automatic", "required"] = Field(
        "automatic", description="required: the model waits as challenger until a person promotes or rejects it."
    )
    smoke_rows: int = Field(
        3, ge=1, le=50, description="Held-out prompts that are sent over HTTP before the alias moves."
    )
    startup_seconds: float = Field(180, gt=0, description="How long the candidate's server may take to answer.")
