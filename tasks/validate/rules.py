"""The rules as the Great Expectations project states them, and an evaluation of the row rules of our own.

Great Expectations counts how many rows break a rule; which ones they are is decided here, from the same file, and the
two counts have to agree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from tasks.contracts import Record
from tasks.errors import UsageError
from tasks.validate.frames import Columns

Values = Mapping[str, float]


class Rule(Record):
    """One expectation of a suite."""

    type: str
    code: str = Field(description="Reason code of the rows that break it.")
    text: str = Field(description="The rule in plain words.")
    kwargs: dict[str, Any]


class Suite(Record):
    """One file of expectations/, with the defaults of its parameters."""

    name: str
    rules: tuple[Rule, ...]
    defaults: dict[str, float]

    def parameters(self, values: Values) -> dict[str, float]:
        """Defaults, replaced by those of the run's values that this suite uses."""
        return {name: values.get(name, default) for name, default in self.defaults.items()}


def read_suite(path: Path) -> Suite:
    """The suite as it stands in the project.

    Raises:
        UsageError: a rule without code or words, or one that names a parameter without a default.
    """
    raw = json.loads(path.read_text(encoding="utf-8"))
    rules = tuple(_rule(expectation, path) for expectation in raw["expectations"])
    defaults = raw.get("suite_parameters", {})
    used = {v["$PARAMETER"] for r in rules for v in r.kwargs.values() if isinstance(v, dict) and "$PARAMETER" in v}
    if used != set(defaults):
        raise UsageError(
            "the parameters of a suite do not match its rules",
            where=str(path),
            why=f"named in rules: {sorted(used)}, with a default: {sorted(defaults)}",
            remedy="give each parameter that a rule names a default under suite_parameters, and no other",
        )
    return Suite(name=raw["name"], rules=rules, defaults=defaults)


def _rule(expectation: Mapping[str, Any], path: Path) -> Rule:
    meta = expectation.get("meta") or {}
    if not {"code", "rule"} <= set(meta):
        raise UsageError(
            "a rule has no code or no words",
            where=f"{path}: {expectation.get('type')}",
            remedy='add "meta": {"code": "...", "rule": "..."} to the expectation',
        )
    return Rule(type=expectation["type"], code=meta["code"], text=meta["rule"], kwargs=expectation["kwargs"])


def broken_rows(rule: Rule, columns: Columns, parameters: Values) -> list[bool]:
    """Which rows break the rule.

    Raises:
        UsageError: a type of expectation that does not judge rows one by one.
    """
    judge = _JUDGES.get(rule.type)
    if judge is None:
        raise UsageError(
            f"{rule.type} cannot be used as a row rule",
            where=f"rule {rule.code}",
            remedy=f"use one of {', '.join(sorted(_JUDGES))}, or move the rule to dataset_rules",
        )
    kwargs = {k: parameters[v["$PARAMETER"]] if isinstance(v, dict) else v for k, v in rule.kwargs.items()}
    return [not judge(value, kwargs) for value in columns[str(rule.kwargs["column"])]]


def _between(value: float, kwargs: Mapping[str, Any]) -> bool:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    return (low is None or value >= low) and (high is None or value <= high)


_JUDGES: dict[str, Callable[[Any, Mapping[str, Any]], bool]] = {
    "expect_column_values_to_match_regex": lambda v, k: re.search(k["regex"], v) is not None,
    "expect_column_values_to_not_match_regex": lambda v, k: re.search(k["regex"], v) is None,
    "expect_column_values_to_be_between": _between,
    "expect_column_value_lengths_to_be_between": lambda v, k: _between(len(v), k),
    "expect_column_values_to_be_in_set": lambda v, k: v in k["value_set"],
}
