"""Parameters of the drift check."""

from __future__ import annotations

from pydantic import Field

from tasks.contracts import Record


class MonitorConfig(Record):
    window_hours: float = Field(24, gt=0, description="Requests of the last hours that are compared.")
    min_requests: int = Field(
        30, ge=5, description="With fewer distinct texts nothing is decided; one that was asked again counts once."
    )
    p_value: float = Field(
        0.01,
        ge=0.001,
        lt=1,
        description="Drift is reported from this probability of chance down; 999 draws show no less than 0.001.",
    )
