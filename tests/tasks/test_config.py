"""What a whole configuration refuses before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.config import RunConfig
from tasks.errors import UsageError

SOURCES = {"project": "p", "data": {"sources": [{"path": "a.jsonl"}]}}


@pytest.mark.parametrize(
    "sections",
    [
        {"evaluate": {"max_rows": 30}},
        {"evaluate": {"max_rows": None}, "gate": {"min_rows": 9000}},
        {"evaluate": {"max_rows": 5}, "gate": {"min_rows": 5}},
    ],
)
def test_a_sample_that_the_gate_takes(sections: dict[str, Any]) -> None:
    assert RunConfig.model_validate(SOURCES | sections)


@pytest.mark.parametrize(
    "sections", [{"evaluate": {"max_rows": 29}}, {"evaluate": {"max_rows": 100}, "gate": {"min_rows": 101}}]
)
def test_a_sample_that_the_gate_would_refuse_after_a_whole_training(sections: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"evaluate\.max_rows is") as caught:
        RunConfig.model_validate(SOURCES | sections)
    assert caught.value.where == "evaluate.max_rows"
    assert "gate.min_rows" in caught.value.remedy
