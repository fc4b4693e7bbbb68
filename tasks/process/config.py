"""Parameters of cleaning: normalisation and duplicates."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.contracts import Record


class ProcessConfig(Record):
    unicode_form: Literal["NFC", "NFKC"] = Field("NFC", description="Unicode normalisation form of every text.")
    near_duplicate_threshold: float = Field(
        0.8, ge=0.3, le=1, description="Jaccard similarity of prompts from which rows with equal answers are merged."
    )
    shingle_unit: Literal["characters", "words"] = Field(
        "characters", description="What similarity is computed on: windows of characters, or of words (long documents)."
    )
    shingle_size: int = Field(5, ge=1, le=12, description="Length of these windows; 3 or 5 for words.")
    minhash_permutations: int = Field(
        128, ge=16, le=128, description="Length of the MinHash signatures that find the pairs to compare."
    )
