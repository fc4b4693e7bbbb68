"""The comparison of all systems on the same rows: pure functions from answers to a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from tasks.contracts import Estimate, EvalReport, Message, Precision, Record, Row, SystemScores
from tasks.evaluate.fields import ANSWER, AnswerForm
from tasks.evaluate.metrics import RowScore, score_row
from tasks.evaluate.statistics import mean_interval, paired_difference

Metric = Literal["exact_match", "token_f1"]
CANDIDATE = "tuned"


class SystemRun(Record):
    """One system's answers, in the order of the compared rows, with what was measured while it answered."""

    answers: tuple[str, ...]
    perplexity: float | None = None
    retention: float | None = None
    seconds_per_answer: float | None = None
    computed_in: Precision | None = None
    notes: tuple[str, ...] = ()


class SystemAnswer(Record):
    answer: str
    score: RowScore


class ScoredRow(Record):
    """One line of answers.jsonl."""

    row_id: str
    prompt: tuple[Message, ...]
    reference: str
    systems: dict[str, SystemAnswer] = Field(description="System → its answer and scores.")


def score_rows(rows: Sequence[Row], runs: Mapping[str, SystemRun], form: AnswerForm) -> tuple[ScoredRow, ...]:
    """Every system's answer to every row, with scores."""
    return tuple(
        ScoredRow(
            row_id=row.row_id,
            prompt=row.prompt,
            reference=row.answer,
            systems={
                name: SystemAnswer(answer=run.answers[i], score=score_row(run.answers[i], row.answer, form))
                for name, run in runs.items()
            },
        )
        for i, row in enumerate(rows)
    )


def assemble(
    scored: Sequence[ScoredRow],
    runs: Mapping[str, SystemRun],
    form: AnswerForm,
    *,
    uri: str,
    digest: str,
    champion_version: int | None,
    rows_available: int,
    seed: int,
    seconds: float,
) -> EvalReport:
    """The report: scores with intervals, and the paired difference of the candidate to every other system."""
    metric, reason = choose_metric(form)
    scores = {name: [row.systems[name].score for row in scored] for name in runs}
    candidate = [float(getattr(s, metric)) for s in scores[CANDIDATE]]
    differences: dict[str, Estimate] = {
        name: paired_difference(
            candidate, [float(getattr(s, metric)) for s in of_system], seed, shares=metric == "exact_match"
        )
        for name, of_system in scores.items()
        if name != CANDIDATE
    }
    return EvalReport(
        uri=uri,
        digest=digest,
        champion_version=champion_version,
        rows=len(scored),
        rows_available=rows_available,
        metric=metric,
        metric_reason=reason,
        fields=form.fields,
        systems={name: _system_scores(scores[name], runs[name], form) for name in runs},
        differences=differences,
        notes=tuple(note for run in runs.values() for note in run.notes),
        seconds=seconds,
    )


def choose_metric(form: AnswerForm) -> tuple[Metric, str]:
    """The metric that the gate compares, and why."""
    if form.fields == (ANSWER,) and form.kind == "label":
        return (
            "exact_match",
            f"The answers are labels ({len(form.values[ANSWER])} different ones): a label is right or not.",
        )
    if form.fields:
        return "exact_match", f"The answers are JSON objects: all of {', '.join(form.fields)} have to be right."
    form_in_words = "JSON objects without structured fields" if form.kind == "json" else "free text"
    return "token_f1", f"The answers are {form_in_words}: the overlap of words with the reference is compared."


def _system_scores(scores: Sequence[RowScore], run: SystemRun, form: AnswerForm) -> SystemScores:
    return SystemScores(
        exact_match=mean_interval([s.exact_match for s in scores]),
        field_accuracy=mean_interval([s.field_accuracy for s in scores]),
        per_field={f: sum(s.per_field[f] for s in scores) / len(scores) for f in form.fields},
        token_f1=mean_interval([s.token_f1 for s in scores]),
        rouge_l=mean_interval([s.rouge_l for s in scores]),
        valid_format=sum(s.valid for s in scores) / len(scores),
        perplexity=run.perplexity,
        retention=run.retention,
        seconds_per_answer=run.seconds_per_answer,
        computed_in=run.computed_in,
    )
