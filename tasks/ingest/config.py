"""Parameters of reading: which sources, what shape, and what happens to personal data in them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.adapters.sources.spec import SourceSpec
from tasks.contracts import Record
from tasks.privacy.config import PrivacyConfig

Shape = Literal[
    "auto",
    "chat",
    "sharegpt",
    "alpaca",
    "prompt_completion",
    "classification",
    "preference",
    "sections",
    "document",
]
SourceSplit = Literal["auto", "train", "test"]  # one list: of two types of text the form would show `str | str`


class SourceConfig(SourceSpec):
    """A source with what is known about its rows."""

    shape: Shape = Field("auto", description="Row shape; auto detects it for each file.")
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Overrides the detected columns: prompt, completion, system, context, history, messages, tools, "
        "chosen, rejected, verdict, or any metadata name → column.",
    )
    split: SourceSplit = Field("auto", description="auto lets the split decide; test holds all rows out.")
    privacy: PrivacyConfig | None = Field(None, description="Replaces data.privacy for this source.")


class DataConfig(Record):
    """What comes in."""

    sources: tuple[SourceConfig, ...] = Field(min_length=1, description="Where rows come from.")
    privacy: PrivacyConfig = PrivacyConfig()
