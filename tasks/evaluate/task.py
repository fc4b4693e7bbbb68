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
from tasks.evaluate.fields import find_form
from tasks.evaluate.rendering import report_markdown
from tasks.evaluate.rows import read_split

_STAGE = "evaluate"


@task(name="compared fields", task_run_name="compared fields of {dataset.address}", cache_policy=NO_CACHE)
def compared_fields_at_hand(dataset: DatasetVersion, config: EvaluateConfig) -> None:
    """Refuse before hours of training a name in `evaluate.fields` that nothing could be compared by after them.

    Raises:
        UsageError: the training answers have no such field.
    """
    if config.fields:
        training = read_split(Store.open().path(dataset.uri), "train")
        find_form([row.answer for row in training], config.fields)


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
