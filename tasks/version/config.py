"""Parameters of the split into training and held-out rows."""

from __future__ import annotations

from pydantic import Field

from tasks.contracts import Record


class SplitConfig(Record):
    name: str = Field("main", pattern=r"^[a-z0-9][a-z0-9_-]*$", description="Name of the dataset in ds://project/name.")
    test_share: float = Field(
        0.2, gt=0, lt=1, description="Share of rows held out where no source is given as test (0..1)."
    )
    group_by: str | None = Field(None, description="Metadata key whose rows stay together, e.g. conversation_id.")
    key: str = Field("tuneloop", description="Key of the hash that decides membership.")
    leak_threshold: float = Field(
        0.8, gt=0, le=1, description="Jaccard similarity from which a training row counts as a copy of a held-out row."
    )
    permute_answers_seed: int | None = Field(
        None, description="Negative control: shuffles the answers among training rows. The gate then has to refuse."
    )
