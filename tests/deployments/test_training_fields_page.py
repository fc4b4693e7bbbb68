"""The page of training fields is current, complete, and the tests that it names exist and are about the field."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from deployments.training_fields_page import PAGE, TESTS, familiar, training_fields_page
from tasks.train.config import TrainConfig
from tasks.train.familiar import RANGES, RELATIVE

ROOT = Path(__file__).parents[2]


def test_the_page_is_current() -> None:
    written = (ROOT / PAGE).read_text(encoding="utf-8")
    assert written == training_fields_page(), f"run `python -m deployments.training_fields_page > {PAGE}`"


def test_every_field_is_listed() -> None:
    assert set(TESTS) == set(TrainConfig.model_fields)
    assert set(RANGES) | set(RELATIVE) <= set(TrainConfig.model_fields)


@pytest.mark.parametrize("field", sorted(TESTS))
def test_the_named_test_exists_and_is_about_the_field(field: str) -> None:
    path, _, name = TESTS[field].partition("::")
    source = (ROOT / path).read_text(encoding="utf-8")
    found = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == name]
    assert found, f"{path} has no {name}"
    nodes = [*found[0].decorator_list, *found[0].body, found[0].args]
    words = {word for node in nodes for word in _words(node)}
    assert field in words, f"{name} does not say {field}"


def _words(node: ast.AST) -> set[str]:
    """Names, keyword arguments and texts of a piece of source."""
    found: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.keyword | ast.arg):
            found.add(part.arg or "")
        elif isinstance(part, ast.Constant):
            found.add(str(part.value))
        elif isinstance(part, ast.Attribute):
            found.add(part.attr)
    return found


def test_choices_and_ranges_in_words() -> None:
    fields = TrainConfig.model_fields
    assert familiar("packing", fields["packing"].annotation) == "auto, on, off"
    assert familiar("method", fields["method"].annotation) == "sft, dpo, ipo, kto, grpo"
    assert familiar("rank", fields["rank"].annotation) == "8 to 64"
    assert familiar("rslora", fields["rslora"].annotation) == "true, false"
