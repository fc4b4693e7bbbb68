"""One comparison from references to report: answers from the models, baselines, scores, all kept in the store."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tasks.adapters.store import Store, stage_key, write_atomically
from tasks.contracts import DatasetVersion, EvalReport, Row, ServedModel, TrainedModel
from tasks.evaluate.baselines import majority_answer, nearest_answers
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.fields import AnswerForm, find_form
from tasks.evaluate.generation import Report, answers_of, read_answers
from tasks.evaluate.plan import REVISION, SystemAnswers, systems_of
from tasks.evaluate.report import SystemRun, assemble, score_rows
from tasks.evaluate.rows import messages_digest, read_split, sample

STAGE = "evaluate"
ANSWERS_FILE = "answers.jsonl"
AnswerSource = Callable[..., dict[str, SystemAnswers]]


def compare(
    store: Store,
    dataset: DatasetVersion,
    trained: TrainedModel,
    champion: ServedModel | None,
    config: EvaluateConfig,
    report: Report,
    ask: AnswerSource = answers_of,
) -> EvalReport:
    """The stored report of this comparison, made if it is not there yet. `ask` gets the models' answers.

    The champion is part of the key, and so of every verdict on the report: what was right against one champion, or
    without any, says nothing against another.
    """
    against = f"{champion.name} {champion.version} {champion.adapter_digest}" if champion else ""
    key = stage_key(REVISION, dataset.digest, trained.adapter_digest, trained.base.digest, config, against)
    make = functools.partial(_make, store, dataset, trained, champion, config, report, ask, key)
    return store.produce(STAGE, key, EvalReport, make)


def _make(
    store: Store,
    dataset: DatasetVersion,
    trained: TrainedModel,
    champion: ServedModel | None,
    config: EvaluateConfig,
    report: Report,
    ask: AnswerSource,
    key: str,
    folder: Path,
) -> EvalReport:
    began = time.monotonic()
    data = store.path(dataset.uri)
    training, available = read_split(data, "train"), read_split(data, "test")
    rows = sample(available, config.max_rows, config.seed)
    form = find_form([row.answer for row in training], config.fields)
    systems = systems_of(trained, str(store.path(trained.uri)), champion)
    answers = ask(store, dataset, systems, config, report)
    runs = {name: _model_run(store, rows, found) for name, found in answers.items()}
    runs |= _baseline_runs(rows, training, form)
    scored = score_rows(rows, runs, form)
    write_atomically(folder / ANSWERS_FILE, "".join(row.model_dump_json() + "\n" for row in scored))
    return assemble(
        scored,
        runs,
        form,
        uri=store.uri(STAGE, key),
        digest=key,
        champion_version=champion.version if champion else None,
        rows_available=len(available),
        seed=config.seed,
        seconds=time.monotonic() - began,
    )


def _model_run(store: Store, rows: Sequence[Row], found: SystemAnswers) -> SystemRun:
    answers = read_answers(store, found)
    return SystemRun(
        answers=tuple(answers[messages_digest(row.messages)] for row in rows),
        perplexity=found.perplexity,
        retention=found.retention,
        seconds_per_answer=found.seconds_per_answer,
        computed_in=found.computed_in,
        notes=found.notes,
    )


def _baseline_runs(rows: Sequence[Row], training: Sequence[Row], form: AnswerForm) -> dict[str, SystemRun]:
    majority = majority_answer([row.answer for row in training], form)
    return {
        "majority": SystemRun(answers=(majority,) * len(rows)),
        "nearest": SystemRun(answers=tuple(nearest_answers(rows, training))),
    }
