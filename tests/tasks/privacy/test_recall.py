"""How much of a labelled set is found: a generator that knows nothing of the code, with hard negatives."""

from __future__ import annotations

import pytest

from bench.pii import field_set, score
from bench.pii_corpus import examples, rows
from tasks.privacy.config import PrivacyConfig
from tasks.privacy.redact import Redactor

CONFIG = PrivacyConfig()
REDACTOR = Redactor(CONFIG.entities, CONFIG.phone_regions)
PATTERNS = ("EMAIL_ADDRESS", "CREDIT_CARD", "IBAN_CODE", "PHONE_NUMBER", "IP_ADDRESS", "SECRET")


def found(text: str) -> list[tuple[int, int, str]]:
    return [(s.start, s.end, s.entity) for s in REDACTOR.find(text)]


@pytest.mark.acceptance
@pytest.mark.parametrize("seed", [2026, 1, 77, 4242])
def test_recall_and_precision_on_patterns(seed: int) -> None:
    result = score(found, examples(seed, 3000), PATTERNS)
    assert result["values"] > 1500
    assert result["recall"] >= 0.98, result
    assert result["precision"] >= 0.95, result
    assert min(result["by_entity"].values()) >= 0.95, result


@pytest.mark.acceptance
@pytest.mark.parametrize("seed", [11, 12])
def test_recall_and_precision_on_a_set_by_somebody_else(seed: int) -> None:
    result = score(found, field_set(seed, 2000), PATTERNS)
    assert result["values"] > 1500
    assert result["recall"] >= 0.98, result
    assert result["precision"] >= 0.95, result
    assert min(result["by_entity"].values()) >= 0.95, result


@pytest.mark.acceptance
def test_rows_of_a_corpus_keep_no_value() -> None:
    made = [row for row in rows(5, 0.5, share=0.2) if row.spans]
    kept = [row for row in made for s in row.spans if row.text[s.start : s.end] in REDACTOR.redact(row.text)[0]]
    assert len(made) > 40
    assert len(kept) <= 0.02 * len(made)


def test_the_generator_shares_no_code() -> None:
    from pathlib import Path

    import bench.pii_corpus
    import bench.pii_corpus_values

    for module in (bench.pii_corpus, bench.pii_corpus_values):
        assert "tasks" not in Path(module.__file__).read_text(encoding="utf-8")
