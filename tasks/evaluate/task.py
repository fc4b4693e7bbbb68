"""Prefect door of the evaluation."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from tasks import progress
from tasks.adapters.store import Store
from tasks.contracts import DatasetVersion, EvalReport, ServedModel, TrainedModel
from tasks.evaluate.comparison import ANSWERS_FILE, compare
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.examples import read_examples
from tasks.evaluate.rendering import report_markdown

_STAGE = "evaluate"


@task(name=_STAGE, task_run_name="evaluate on {dataset.address}", cache_policy=NO_CACHE)
def evaluate(
    dataset: DatasetVersion, trained: TrainedModel, champion: ServedModel | None, config: EvaluateConfig
) -> EvalReport:
    """Base, candidate, champion and baselines on the held-out rows; once per dataset, adapter, champion and config."""
    with progress.stage(_STAGE):
        store = Store.open()
        report = compare(store, dataset, trained, champion, config, _say)
        examples = read_examples(store.path(report.uri) / ANSWERS_FILE, report.metric)
        create_markdown_artifact(report_markdown(report, examples), "evaluation", f"Evaluation on {dataset.address}")
        return report


def _say(text: str, done: int, total: int) -> None:
    progress.publish(progress.Progress(stage=_STAGE, state="running", text=text, done=done, total=total))
