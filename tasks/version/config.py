"""Parameters of the split into training and held-out rows."""

from __future__ import annotations

from pydantic import Field

from tasks.contracts import Record


class BenchmarkConfig(Record):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$", description="Name of the benchmark, for reports.")
    path: str = Field(
        description="Its questions: a text file with one a line, or JSON Lines with a field question, prompt, input "
        "or text."
    )


class SplitConfig(Record):
    name: str = Field("main", pattern=r"^[a-z0-9][a-z0-9_-]*$", description="Name of the dataset in ds://project/name.")
    test_share: float = Field(
        0.2, gt=0, lt=1, description="Share of rows held out where no source is given as test: 0.2, 0.1, 0.05, ..."
    )
    stratify_by: str | None = Field(
        None,
        description="Metadata key, `answer`, or `answer.<field>` of a JSON answer: each of its values is held out in "
        "the same share, with at least one row where it has two.",
    )
    group_by: str | None = Field(
        None, description="Metadata key whose rows stay together, e.g. conversation_id, customer."
    )
    key: str = Field("tuneloop", description="Key of the hash that decides membership.")
    leak_threshold: float = Field(
        0.85,
        gt=0,
        le=1,
        description="Share of the words of the longer prompt that a training row and a held-out row both hold, from "
        "which the training row is a leak; up to 15 words one word may differ. 1: only the same text is a leak.",
    )
    leak_chance: float = Field(
        0.004,
        ge=0,
        le=1,
        description="Share of short prompts that may differ by one word by chance; 1: each of them is a leak.",
    )
    benchmarks: tuple[BenchmarkConfig, ...] = Field(
        (), description="Benchmarks whose questions must not be trained on: rows that hold one are quarantined."
    )
    benchmark_overlap: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of a question's runs of 8 words that a row holds from which it is contaminated.",
    )
    permute_answers_seed: int | None = Field(
        None, description="Negative control: shuffles the answers among training rows. The gate then has to refuse."
    )
