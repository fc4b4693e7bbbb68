"""Parameters of cleaning: normalisation and duplicates."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.contracts import Record


class ProcessConfig(Record):
    unicode_form: Literal["NFC", "NFKC"] = Field("NFC", description="Unicode normalisation form of every text.")
    near_duplicate_threshold: float = Field(
        0.8, gt=0, le=1, description="Jaccard similarity of prompts from which rows with equal answers are merged."
    )
    shingle_characters: int = Field(
        5, ge=2, le=12, description="Length of the character shingles that similarity is computed on."
    )
