"""Parameters of the drift check."""

from __future__ import annotations

from pydantic import Field

from tasks.contracts import Record


class MonitorConfig(Record):
    window_hours: float = Field(24, gt=0, description="Requests of the last hours that are compared.")
    min_requests: int = Field(30, ge=5, description="With fewer requests nothing is decided.")
    p_value: float = Field(0.01, gt=0, lt=1, description="Drift is reported below this probability of chance.")
