"""Which personal data is looked for in a source, and what happens to it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from tasks.contracts import Record

PatternEntity = Literal[
    "EMAIL_ADDRESS",
    "PHONE_NUMBER",
    "CREDIT_CARD",
    "IBAN_CODE",
    "IP_ADDRESS",
    "URL_CREDENTIALS",
    "SECRET",
    "NATIONAL_ID",
]
NamedEntity = Literal["PERSON", "ADDRESS"]
Entity = PatternEntity | NamedEntity
Action = Literal["redact", "mask", "pseudonymise", "drop", "report"]

PATTERN_ENTITIES: tuple[PatternEntity, ...] = (
    "EMAIL_ADDRESS",
    "PHONE_NUMBER",
    "CREDIT_CARD",
    "IBAN_CODE",
    "IP_ADDRESS",
    "URL_CREDENTIALS",
    "SECRET",
    "NATIONAL_ID",
)
NAMED_ENTITIES: tuple[NamedEntity, ...] = ("PERSON", "ADDRESS")


class PrivacyConfig(Record):
    """Which personal data is found before anything is written, and what replaces it."""

    entities: tuple[PatternEntity, ...] = Field(
        PATTERN_ENTITIES, description="Entities that are recognised by their pattern and checksum."
    )
    phone_regions: tuple[str, ...] = Field(
        ("US", "GB", "DE", "FR", "BE", "AT", "NL", "IN"),
        description="Countries whose national phone number formats are recognised (two-letter codes).",
    )
    actions: dict[Entity, Action] = Field(
        default_factory=dict,
        description=(
            "Entity → redact (<ENTITY>), mask (stars), pseudonymise (the same sign for the same value), drop (the row "
            "goes to quarantine) or report (counted only); redact where not named."
        ),
    )
    names_and_addresses: bool = Field(
        False, description="Also find names and addresses with spaCy's English model (needs the extra `names`)."
    )

    @property
    def looked_for(self) -> tuple[str, ...]:
        """Every entity that is looked for, names and addresses included where they are switched on."""
        return (*self.entities, *(NAMED_ENTITIES if self.names_and_addresses else ()))

    @field_validator("phone_regions")
    @classmethod
    def _known_regions(cls, regions: tuple[str, ...]) -> tuple[str, ...]:
        from phonenumbers.data import _AVAILABLE_REGION_CODES  # importing phonenumbers itself takes longer

        regions = tuple(region.upper() for region in regions)
        unknown = sorted(set(regions) - set(_AVAILABLE_REGION_CODES))
        if unknown:
            raise ValueError(f"no phone numbering plan for {', '.join(unknown)}; use two-letter codes such as DE")
        return regions

    @model_validator(mode="after")
    def _actions_have_an_effect(self) -> PrivacyConfig:
        idle = sorted(set(self.actions) - set(self.looked_for))
        if idle:
            raise ValueError(f"actions are given for {', '.join(idle)}, which nothing looks for")
        return self
