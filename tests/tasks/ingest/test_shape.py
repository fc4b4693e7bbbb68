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


def test_what_a_question_is_about_belongs_to_the_prompt() -> None:
    dolly = seen(rows("instruction", "context", "response", "category"))
    assert dolly.columns == {"prompt": "instruction", "completion": "response", "context": "context"}
    squad = seen(rows("question", "context", "answer"))
    assert squad.columns == {"prompt": "question", "completion": "answer", "context": "context"}
    assert seen(rows("instruction", "context", "output")).columns["context"] == "context"
    assert seen(rows("context", "response")).columns == {"prompt": "context", "completion": "response"}
    lists = seen(rows("question", "answer", context=["a", "b"]))
    assert "context" not in lists.columns
    assert "columns not used: context" in lists.reasons
    named = seen(rows("question", "context", "answer", "facts"), context="facts")
    assert named.columns["context"] == "facts"


def test_the_name_of_a_label_is_preferred_to_its_number() -> None:
    found = seen(rows("text", "label_text", label=3))
    assert found.columns == {"prompt": "text", "completion": "label_text"}
    assert seen(rows("text", "label_text", label=3), completion="label").columns["completion"] == "label"


@pytest.mark.parametrize("names", [("prompt", "completion"), ("instruction", "output")])
@pytest.mark.parametrize("verdicts", [(True, False), ("True", "false"), (True, None)])
def test_answers_that_are_called_good_or_bad_are_not_all_learned(names: tuple[str, str], verdicts: Any) -> None:
    values: list[object] = [{**row, "label": v} for row in rows(*names) if isinstance(row, dict) for v in verdicts]
    with pytest.raises(UsageError, match="bad answers") as error:
        seen(values)
    assert "'label' holds true and false" in error.value.why
    assert "chosen and rejected" in error.value.remedy
    kept = seen(values, label="label")
    assert (kept.shape, kept.metadata) == ("alpaca" if "output" in names else "prompt_completion", {"label": "label"})
    assert seen(rows("text", label=True)).shape == "classification"
    assert seen(rows("prompt", "completion", "label")).shape == "prompt_completion"


def test_a_conversation_with_a_verdict_is_no_example_to_follow() -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    with pytest.raises(UsageError, match="bad answers"):
        seen([{"messages": turns, "kto_tag": False}])


def test_a_first_row_is_no_header() -> None:
    values: list[object] = [{"I lost my card": f"sentence number {i} of many", "lost": ["lost", "fee"][i % 2]}
                            for i in range(20)]  # fmt: skip
    with pytest.raises(UsageError, match="no header") as error:
        seen(values)
    assert "'lost'" in error.value.why
    assert seen(values, prompt="I lost my card", completion="lost").columns["completion"] == "lost"


def test_tools_that_stand_beside_the_turns_are_found() -> None:
    turns = [{"role": "user", "content": "q"}]
    answers = {"preferred_output": turns, "non_preferred_output": turns}
    values: list[object] = [{"input": {"messages": turns}, **answers},
                            {"input": {"messages": turns, "tools": [{"name": "find"}]}, **answers}]  # fmt: skip
    assert seen(values).columns["tools"] == "input.tools"
    assert "tools" not in seen(values[:1]).columns
