from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.errors import UsageError
from tasks.validate.config import ChecksConfig
from tasks.validate.expectations import project_folder
from tasks.validate.judge import DATASET_SUITES, ROW_SUITES
from tasks.validate.measures import MEASURES
from tasks.validate.rules import Rule, broken_rows, read_suite, read_suites

META = {"code": "c", "rule": "r"}
GOOD = {
    "type": "expect_column_values_to_be_between",
    "kwargs": {"min_value": {"$PARAMETER": "low"}},
    "meta": META,
    "severity": "critical",
}


def suite_file(folder: Path, expectation: dict[str, Any], name: str = "s", **parameters: float) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"name": name, "expectations": [expectation], "suite_parameters": parameters}))
    return path


def test_committed_suites_have_defaults_and_those_of_the_configuration_have_its_names() -> None:
    suites = read_suites(project_folder() / "expectations")
    assert set(suites) == {*ROW_SUITES, *DATASET_SUITES}
    assert {name: len(suite.rules) for name, suite in suites.items()} == {
        "row_rules": 15, "chat_rules": 5, "pair_rules": 2, "preference_rules": 4, "document_rules": 3,
        "dataset_rules": 6, "totals_rules": 7,
    }  # fmt: skip
    named = {name for s in suites.values() for name in s.defaults}
    assert set(ChecksConfig.model_fields) - named == {"languages"}
    for suite in suites.values():
        for name, default in suite.defaults.items():
            if name in ChecksConfig.model_fields:
                assert ChecksConfig.model_fields[name].default == default


def test_row_rules_look_at_what_is_measured_and_propose_a_repair() -> None:
    suites = read_suites(project_folder() / "expectations")
    for name in ROW_SUITES:
        for rule in suites[name].rules:
            assert set(rule.columns) <= set(MEASURES.names or ())
            assert bool(rule.repair) == (rule.severity == "critical"), rule.code


def test_the_project_holds_no_python() -> None:
    assert {p.suffix for p in project_folder().rglob("*") if p.is_file()} <= {".yml", ".json"}


def test_parameters_of_the_run_replace_defaults() -> None:
    suite = read_suite(project_folder() / "expectations" / "pair_rules.json")
    assert suite.parameters({"max_label_chars": 7.0, "other": 1.0}) == {"max_label_chars": 7}


@pytest.mark.parametrize(
    ("type_", "kwargs", "values", "broken"),
    [
        ("expect_column_values_to_be_between", {"min_value": {"$PARAMETER": "low"}}, [1, 2], [True, False]),
        ("expect_column_values_to_be_between", {"min_value": 1, "max_value": 2}, [0, 1, 3], [True, False, True]),
        ("expect_column_values_to_be_between", {"max_value": 2}, [np.nan, 3.0], [False, True]),
        ("expect_column_values_to_be_in_set", {"value_set": [True]}, [True, False], [False, True]),
    ],
)  # fmt: skip
def test_own_evaluation(type_: str, kwargs: dict[str, Any], values: list[Any], broken: list[bool]) -> None:
    rule = Rule(type=type_, code="c", text="t", kwargs={"column": "v", **kwargs})
    assert broken_rows(rule, {"v": np.array(values)}, {"low": 2.0}).tolist() == broken


def test_broken_suites_are_refused(tmp_path: Path) -> None:
    assert read_suite(suite_file(tmp_path, GOOD, low=1)).defaults == {"low": 1}
    with pytest.raises(UsageError, match="parameters"):
        read_suite(suite_file(tmp_path, GOOD))
    with pytest.raises(UsageError, match="no code"):
        read_suite(suite_file(tmp_path, {**GOOD, "meta": {}}, low=1))
    with pytest.raises(UsageError, match="no severity"):
        read_suite(suite_file(tmp_path, {**GOOD, "severity": "info"}, low=1))
    with pytest.raises(UsageError, match="row rule"):
        broken_rows(Rule(type="expect_table_row_count_to_be_between", code="c", text="t", kwargs={}), {}, {})


def test_two_rules_with_one_code_are_refused(tmp_path: Path) -> None:
    suite_file(tmp_path, GOOD, "a", low=1)
    suite_file(tmp_path, GOOD, "b", low=1)
    with pytest.raises(UsageError, match="one code"):
        read_suites(tmp_path)
