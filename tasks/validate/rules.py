"""The rules as the Great Expectations project states them, and an evaluation of the row rules of our own.

Great Expectations counts how many rows break a rule; which ones they are is decided here, from the same file, and the
two counts have to agree.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from tasks.contracts import Record
from tasks.errors import UsageError

Values = Mapping[str, float]
Columns = Mapping[str, Any]
Severity = Literal["critical", "warning"]


class Rule(Record):
    """One expectation of a suite."""

    type: str
    code: str = Field(description="Reason code of the rows that break it.")
    text: str = Field(description="The rule in plain words.")
    severity: Severity = Field("critical", description="critical: row quarantined or data refused; warning: reported.")
    repair: str = Field("", description="What a person can do about a row that breaks it.")
    kwargs: dict[str, Any]

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that the rule looks at."""
        named = [self.kwargs.get(key) for key in ("column", "column_A", "column_B")]
        return (*(str(name) for name in named if name), *self.kwargs.get("column_list", ()))

    def limits(self, parameters: Values) -> dict[str, float]:
        """The parameters that the rule names, with their values."""
        names = [v["$PARAMETER"] for v in self.kwargs.values() if isinstance(v, dict)]
        return {name: parameters[name] for name in names}


class Suite(Record):
    """One file of expectations/, with the defaults of its parameters."""

    name: str
    rules: tuple[Rule, ...]
    defaults: dict[str, float]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for rule in self.rules for name in rule.columns))

    def parameters(self, values: Values) -> dict[str, float]:
        """Defaults, replaced by those of the run's values that this suite uses."""
        return {name: values.get(name, default) for name, default in self.defaults.items()}


def read_suites(folder: Path) -> dict[str, Suite]:
    """All suites of a project, by name.

    Raises:
        UsageError: a suite is not sound, or two row rules have one code.
    """
    suites = {suite.name: suite for suite in map(read_suite, sorted(folder.glob("*.json")))}
    codes = [rule.code for suite in suites.values() for rule in suite.rules]
    twice = sorted({code for code in codes if codes.count(code) > 1})
    if twice:
        raise UsageError(
            "two rules have one code", where=str(folder), why=", ".join(twice), remedy="rename one of them"
        )
    return suites


def read_suite(path: Path) -> Suite:
    """The suite as it stands in the project.

    Raises:
        UsageError: a rule without code, words or severity, or one that names a parameter without a default.
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
    meta, severity = expectation.get("meta") or {}, expectation.get("severity")
    if not {"code", "rule"} <= set(meta) or severity not in ("critical", "warning"):
        raise UsageError(
            "a rule has no code, no words or no severity",
            where=f"{path}: {expectation.get('type')}",
            remedy='add "meta": {"code": "...", "rule": "..."} and "severity": "critical" or "warning"',
        )
    return Rule(
        type=expectation["type"],
        code=meta["code"],
        text=meta["rule"],
        severity=severity,
        repair=meta.get("repair", ""),
        kwargs=expectation["kwargs"],
    )


def broken_rows(rule: Rule, columns: Columns, parameters: Values) -> Any:
    """Which rows break the rule, as an array of truth values. A value that was not measured (NaN) breaks nothing.

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
    values = np.asarray(columns[str(rule.kwargs["column"])])
    measured = ~np.isnan(values) if values.dtype.kind == "f" else True
    return ~judge(values, kwargs) & measured


def _between(values: Any, kwargs: Mapping[str, Any]) -> Any:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    inside = np.ones(len(values), dtype=bool)
    if low is not None:
        inside &= values >= low
    if high is not None:
        inside &= values <= high
    return inside


_JUDGES: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "expect_column_values_to_be_between": _between,
    "expect_column_values_to_be_in_set": lambda values, k: np.isin(values, k["value_set"]),
}
