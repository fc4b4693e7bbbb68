"""Parameters of the quality rules."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from tasks.contracts import Record

LanguageCode = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]


class ChecksConfig(Record):
    """Limits of the rules in great_expectations/; docs/data-quality.md says how each value is measured."""

    min_tokens: int = Field(10, ge=1, description="Shortest row in tokens of the model, template included.")
    max_tokens: int = Field(
        4000, ge=16, description="Longest row in tokens; a row is never longer than the model itself can read."
    )
    min_answer_chars: int = Field(1, ge=1, description="Shortest answer in characters, outer blanks not counted.")
    languages: tuple[LanguageCode, ...] = Field(
        (), description="ISO 639 codes of the languages that rows may be written in; empty: any."
    )
    max_repeated_share: float = Field(0.5, ge=0, le=1, description="Largest share of word triples that are repeats.")
    max_toxicity: float = Field(
        0.1, ge=0, le=1, description="Largest share of obscene words in an answer; 1 switches the rule off."
    )
    min_quality: int = Field(0, ge=0, le=100, description="Rows with a lower quality score are quarantined; 0: none.")
    min_rows: int = Field(10, ge=1, description="Fewer kept rows than this are refused.")
    warn_rows: int = Field(50, ge=1, description="Fewer kept rows than this give a warning.")
    max_quarantined_share: float = Field(0.5, ge=0, le=1, description="A larger share in quarantine is refused.")
    min_distinct_prompts: float = Field(
        0.5, ge=0, le=1, description="A smaller share of different prompts gives a warning."
    )
    max_class_share: float = Field(0.9, gt=0, le=1, description="A label with a larger share of rows gives a warning.")
    min_class_rows: int = Field(5, ge=1, description="A label with fewer rows gives a warning.")

    @model_validator(mode="after")
    def _lengths_in_order(self) -> ChecksConfig:
        if self.min_tokens > self.max_tokens:
            raise ValueError("min_tokens is larger than max_tokens")
        return self
