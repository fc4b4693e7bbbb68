"""The caller's side of the worker: what is missing is asked in a process of its own, then read from the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.adapters.json_lines import read_records
from tasks.adapters.processes import run_worker
from tasks.adapters.store import Store, write_atomically
from tasks.contracts import DatasetVersion
from tasks.digest import digest_of
from tasks.errors import EvaluationFailed
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.plan import ANSWERS_STAGE, AnswerLine, Plan, System, SystemAnswers

WORKER = "tasks.evaluate.worker"
_KILLED = -9
Report = Callable[[str, int, int], None]


def answers_of(
    store: Store, dataset: DatasetVersion, systems: Sequence[System], config: EvaluateConfig, report: Report
) -> dict[str, SystemAnswers]:
    """Answers of every system, by name. A worker is started only if some are missing.

    Raises:
        EvaluationFailed: the worker ended without them.
    """
    missing = tuple(s for s in systems if _find(store, dataset, s, config) is None)
    if missing:
        _run(store, Plan(dataset=dataset, config=config, systems=missing), report)
    found: dict[str, SystemAnswers | None] = {s.name: _find(store, dataset, s, config) for s in systems}
    complete = {name: answers for name, answers in found.items() if answers is not None}
    if len(complete) < len(found):
        raise EvaluationFailed(
            "the evaluation ended without all answers",
            where=str(_log_file(store)),
            why=f"no answers of: {', '.join(sorted(set(found) - set(complete)))}",
            remedy="read the log, then run again",
        )
    return complete


def read_answers(store: Store, answers: SystemAnswers) -> Mapping[str, str]:
    """Answers by the digest of the row's messages."""
    lines = read_records(store.path(answers.uri) / "answers.jsonl", AnswerLine)
    return {line.row: line.answer for line in lines}


def _find(store: Store, dataset: DatasetVersion, system: System, config: EvaluateConfig) -> SystemAnswers | None:
    return store.find(ANSWERS_STAGE, system.key(dataset, config), SystemAnswers)


def _run(store: Store, plan: Plan, report: Report) -> None:
    path = store.root / "work" / "evaluate-plans" / f"{digest_of(plan)[:32]}.json"
    write_atomically(path, plan.model_dump_json(indent=1))
    errors: list[dict[str, Any]] = []

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "error":
            errors.append(event)
        else:
            report(event["text"], event["done"], event["total"])

    code = run_worker(WORKER, [str(path)], home=store.root, log_file=_log_file(store), on_event=on_event)
    path.unlink(missing_ok=True)
    if errors:
        error = errors[0]
        raise EvaluationFailed(
            f"{error['code']}: {error['what']}", where=error["where"], why=error["why"], remedy=error["remedy"]
        )
    if code:
        raise _crash(code, store)


def _crash(code: int, store: Store) -> EvaluationFailed:
    killed = "it was killed from outside, usually because memory ran out" if code == _KILLED else f"exit code {code}"
    return EvaluationFailed(
        "the evaluation process ended before it was done",
        where=str(_log_file(store)),
        why=killed,
        remedy="run again: finished answers are kept; with little memory set evaluate.batch_rows lower",
    )


def _log_file(store: Store) -> Path:
    return store.root / "logs" / "evaluate.log"
