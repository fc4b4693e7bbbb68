"""Parameters of the gate."""

from __future__ import annotations

from pydantic import Field

from tasks.contracts import Record


class GateConfig(Record):
    min_rows: int = Field(30, ge=1, description="Fewer evaluated rows than this cannot prove anything: refused.")
    min_score: float = Field(0.0, ge=0, le=1, description="Lowest score of the candidate in the gate's metric (0..1).")
    min_gain_over_base: float = Field(
        0.05, ge=0, le=1, description="The paired gain over the base must be larger than this, interval included."
    )
    beat_majority: bool = Field(
        True, description="The candidate must beat the most frequent answer, interval included."
    )
    beat_nearest: bool = Field(True, description="The candidate must beat copying the nearest row, interval included.")
    max_loss_to_champion: float = Field(
        0.02, ge=0, le=1, description="How much worse than the champion the candidate's paired mean may be (0..1)."
    )
    min_retention_share: float = Field(
        0.7, ge=0, le=1, description="Lowest share of the base's general-knowledge score that must be kept (0..1)."
    )
