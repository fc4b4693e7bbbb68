"""Parameters of the registry."""

from __future__ import annotations

from pydantic import Field

from tasks.contracts import Record


class RegistryConfig(Record):
    model_name: str | None = Field(
        None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="Registered name; empty: the project's name."
    )
