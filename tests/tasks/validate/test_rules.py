from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import UsageError
from tasks.validate.config import ChecksConfig
from tasks.validate.expectations import project_folder
from tasks.validate.rules import Rule, broken_rows, read_suite


def suite_file(folder: Path, expectation: dict[str, Any], **parameters: float) -> Path:
    path = folder / "s.json"
    path.write_text(json.dumps({"name": "s", "expectations": [expectation], "suite_parameters": parameters}))
    return path


def test_committed_suites_have_defaults_and_those_of_the_configuration_have_its_names() -> None:
    suites = [read_suite(path) for path in sorted((project_folder() / "expectations").glob("*.json"))]
    assert [(s.name, len(s.rules)) for s in suites] == [("dataset_rules", 4), ("row_rules", 6), ("totals_rules", 2)]
    named = {name for s in suites for name in s.defaults}
    assert named - set(ChecksConfig.model_fields) == {"max_placeholder_share"}
    assert set(ChecksConfig.model_fields) - named == {"warn_rows"}
    for suite in suites:
        for name, default in suite.defaults.items():
            if name in ChecksConfig.model_fields:
                assert ChecksConfig.model_fields[name].default == default


def test_the_project_holds_no_python() -> None:
    assert {p.suffix for p in project_folder().rglob("*") if p.is_file()} <= {".yml", ".json"}


def test_parameters_of_the_run_replace_defaults() -> None:
    suite = read_suite(project_folder() / "expectations" / "row_rules.json")
    assert suite.parameters({"max_tokens": 7.0, "other": 1.0}) == {"min_tokens": 10, "max_tokens": 7}


@pytest.mark.parametrize(
    ("type_", "kwargs", "values", "broken"),
    [
        ("expect_column_values_to_match_regex", {"regex": r"\S"}, ["a", " "], [False, True]),
        ("expect_column_values_to_not_match_regex", {"regex": "x"}, ["ax", "b"], [True, False]),
        ("expect_column_values_to_be_between", {"min_value": {"$PARAMETER": "low"}}, [1, 2], [True, False]),
        ("expect_column_value_lengths_to_be_between", {"max_value": 1}, ["a", "ab"], [False, True]),
        ("expect_column_values_to_be_in_set", {"value_set": ["a"]}, ["a", "b"], [False, True]),
    ],
)
def test_own_evaluation(type_: str, kwargs: dict[str, Any], values: list[Any], broken: list[bool]) -> None:
    rule = Rule(type=type_, code="c", text="t", kwargs={"column": "v", **kwargs})
    assert broken_rows(rule, {"v": values}, {"low": 2.0}) == broken


def test_broken_suites_are_refused(tmp_path: Path) -> None:
    meta = {"code": "c", "rule": "r"}
    good = {"type": "expect_column_values_to_be_between", "kwargs": {"min_value": {"$PARAMETER": "low"}}, "meta": meta}
    assert read_suite(suite_file(tmp_path, good, low=1)).defaults == {"low": 1}
    with pytest.raises(UsageError, match="parameters"):
        read_suite(suite_file(tmp_path, good))
    with pytest.raises(UsageError, match="no code"):
        read_suite(suite_file(tmp_path, {**good, "meta": {}}, low=1))
    with pytest.raises(UsageError, match="row rule"):
        broken_rows(Rule(type="expect_table_row_count_to_be_between", code="c", text="t", kwargs={}), {}, {})
