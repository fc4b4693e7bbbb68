"""Parameters of reading: which sources, what shape, and what happens to personal data in them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.contracts import Record, Split

Shape = Literal["auto", "chat", "sharegpt", "alpaca", "prompt_completion", "classification", "sections", "document"]
Entity = Literal["EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "IP_ADDRESS"]


class SourceConfig(Record):
    """A file, a folder or a glob; relative paths resolve against the configuration file."""

    path: str = Field(min_length=1, description="File, folder or glob pattern.")
    shape: Shape = Field("auto", description="Row shape; auto detects it for each file.")
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Overrides the detected columns: prompt, completion, system or any metadata name → column.",
    )
    split: Literal["auto"] | Split = Field("auto", description="auto lets the split decide; test holds all rows out.")


class PrivacyConfig(Record):
    """Which personal data is replaced before anything is written."""

    entities: tuple[Entity, ...] = Field(
        ("EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "IP_ADDRESS"),
        description="Entities that are found and replaced by <ENTITY>.",
    )
    phone_regions: tuple[str, ...] = Field(
        ("US", "GB", "DE", "FR", "BE", "AT", "NL", "IN"),
        description="Countries whose national phone number formats are recognised (two-letter codes).",
    )


class DataConfig(Record):
    """What comes in."""

    sources: tuple[SourceConfig, ...] = Field(min_length=1, description="Where rows come from.")
    privacy: PrivacyConfig = PrivacyConfig()
