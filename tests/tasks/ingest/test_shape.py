from __future__ import annotations

from typing import Any

import pytest

from tasks.errors import UsageError
from tasks.ingest.shape import ShapeDecision, detect


def rows(*names: str, count: int = 3, **fixed: Any) -> list[object]:
    return [{**{n: f"{n} {i}" for n in names}, **fixed} for i in range(count)]


def seen(values: list[object], shape: Any = "auto", **columns: str) -> ShapeDecision:
    return detect(values, shape, columns, "x.jsonl")


@pytest.mark.parametrize(
    ("values", "shape", "columns"),
    [
        (rows("agent", messages=[]), "chat", {}),
        (rows(conversations=[]), "sharegpt", {}),
        (rows("instruction", "input", "output"), "alpaca",
         {"prompt": "instruction", "completion": "output", "context": "input"}),
        (rows("prompt", "completion"), "prompt_completion", {"prompt": "prompt", "completion": "completion"}),
        (rows("Question", "Answer", "category"), "prompt_completion", {"prompt": "Question", "completion": "Answer"}),
        (rows("input", "output"), "prompt_completion", {"prompt": "input", "completion": "output"}),
        (rows("text", "label"), "classification", {"prompt": "text", "completion": "label"}),
        (rows("utterance", "intent"), "classification", {"prompt": "utterance", "completion": "intent"}),
        (rows("system", "prompt", "response"), "prompt_completion",
         {"prompt": "prompt", "completion": "response", "system": "system"}),
    ],
)  # fmt: skip
def test_shapes_are_found_with_reasons(values: list[object], shape: str, columns: dict[str, str]) -> None:
    found = seen(values)
    assert (found.shape, found.columns) == (shape, columns)
    assert found.reasons[0]


def test_unknown_names_are_judged_by_their_values() -> None:
    values: list[object] = [{"zin": f"sentence number {i} of many", "soort": "ab"[i % 2]} for i in range(20)]
    assert seen(values).columns == {"prompt": "zin", "completion": "soort"}
    with pytest.raises(UsageError, match="not known"):
        seen([{"zin": f"a {i}", "soort": f"b {i}"} for i in range(20)])


@pytest.mark.parametrize(
    "values",
    [rows("text", "label", "category"), rows("prompt", "completion", messages=[]), rows("prompt", "answer", "output")],
)
def test_ambiguous_rows_name_the_choices_and_the_setting(values: list[object]) -> None:
    with pytest.raises(UsageError, match="more than one shape") as error:
        seen(values)
    assert "choices" in error.value.why
    assert "shape" in error.value.remedy
    assert "columns" in error.value.remedy


def test_settings_decide() -> None:
    values = rows("prompt", "completion", "text", "label")
    assert seen(values, "classification", prompt="text").columns == {"prompt": "text", "completion": "label"}
    assert seen(values, prompt="label", completion="text").columns == {"prompt": "label", "completion": "text"}
    assert seen(rows("text", "label", "category"), completion="category").columns["completion"] == "category"
    with pytest.raises(UsageError, match="do not have the shape chat"):
        seen(values, "chat")
    with pytest.raises(UsageError, match="no column 'nope'") as error:
        seen(values, prompt="nope", completion="text")
    assert "prompt" in error.value.why


def test_metadata_is_found_even_in_few_rows_and_can_be_named() -> None:
    values = [
        *rows("prompt", "completion", "created_at", "thread"),
        {"prompt": "a", "completion": "b", "author": "c", "colour": "d"},
    ]
    found = seen(values, shade="colour")
    assert found.metadata == {
        "timestamp": "created_at", "conversation_id": "thread", "author": "author", "shade": "colour",
    }  # fmt: skip
    assert "columns not used" not in " ".join(found.reasons)
    assert "columns not used: colour" in seen(values).reasons
