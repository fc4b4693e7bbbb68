"""A run history in memory, and a run with a training that failed."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deployments.runs.prefect_history import FlowRun, LogLine
from deployments.runs.views import Runs

NOW = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)


class Kept:
    """What Prefect would tell, from a list."""

    def __init__(self, runs: Sequence[FlowRun], lines: Sequence[str] = ()) -> None:
        self._runs, self._lines = list(runs), list(lines)

    def runs(self) -> list[FlowRun]:
        return self._runs

    def tasks_at_work(self, runs: Sequence[str]) -> list[str]:
        return []

    def parents(self, task_runs: Sequence[str]) -> dict[str, str]:
        return {}

    def logs(self, runs: Sequence[str]) -> list[LogLine]:
        return [LogLine(at=NOW, level=20, message=line) for line in self._lines]


def failed_run(config: dict[str, Any], message: str = "", **values: Any) -> FlowRun:
    fields: dict[str, Any] = {
        "id": "0123abcd-0000-4000-8000-000000000000",
        "flow": "retrain",
        "name": "retrain support_desk",
        "state_type": "FAILED",
        "state_name": "Failed",
        "message": message,
        "created": NOW,
        "started": NOW,
        "ended": NOW,
        "parameters": {"config": config, "reason": ""},
        "submitted": False,
        "parent_task_run": None,
    }
    return FlowRun.model_validate(fields | values)


def runs_of(home: Path, run: FlowRun, lines: Sequence[str] = ()) -> Runs:
    return Runs(home, Kept([run], lines))
