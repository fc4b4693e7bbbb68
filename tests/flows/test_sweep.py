"""A sweep as Prefect subflows with real trainings: the best goes on, and what was trained is not trained again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.embedded import prefect_server
from deployments.runs.views import Runs
from flows.sweep import best_settings, sweep
from tasks.adapters.base_models import resolve
from tasks.adapters.store import Store
from tasks.config import RunConfig
from tasks.contracts import DatasetVersion
from tasks.errors import TrainingFailed, UsageError
from tasks.train.config import TrainConfig
from tasks.train.space import Space, Swept, settled
from tasks.version.derive import derive
from tests.tasks.train.training_rows import make_row, make_rows
from tests.tiny_release import CONFIG as PROJECT

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, empty_databases: Path, run_database: Path) -> Iterator[Path]:
    """A home with a server and a dataset, shared by the tests of this module."""
    folder = tmp_path_factory.mktemp("sweep") / "home"
    shutil.copytree(empty_databases, folder)
    shutil.copytree(run_database, folder / "prefect")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNELOOP_HOME", str(folder))
        patch.delenv("PREFECT_API_URL", raising=False)
        with prefect_server(folder):
            yield folder


def config_of(model: Path) -> RunConfig:
    train = TrainConfig(batch_rows=4, micro_batch_rows=4, epochs=1, rank=2, alpha=4, validation_share=0.25)
    return RunConfig(project="p", data=PROJECT["data"], model={"base": str(model)}, train=train)


@pytest.fixture(scope="module")
def dataset(home: Path, tiny_model: Path) -> DatasetVersion:
    """A dataset version in the catalogue, as `dataset_at` finds it."""
    tokenizer = resolve(str(tiny_model)).tokenizer_digest
    held_out = make_row(99, "Which colour has the lamp?", "It is green.").model_copy(update={"split": "test"})
    rows = [*make_rows(12), held_out]
    return derive(Store.open(), "p", "main", rows, policy="f" * 64, tokenizer=tokenizer)


def test_the_best_trial_wins_and_nothing_is_trained_twice(
    home: Path, dataset: DatasetVersion, tiny_model: Path
) -> None:
    config = config_of(tiny_model)
    space = Space(grid={"learning_rate": (1e-5, 5e-2), "rank": (2,)})
    swept = sweep(config, dataset.address, space)
    assert isinstance(swept, Swept)
    assert [t.point["learning_rate"] for t in swept.trials] == [1e-5, 5e-2]
    scores = [t.score for t in swept.trials]
    assert None not in scores
    assert scores[swept.best] == min(s for s in scores if s is not None)
    assert all(t.trained is not None and t.trained.new for t in swept.trials)
    again = sweep(config, dataset.address, space)
    assert not any(t.trained.new for t in again.trials if t.trained)
    assert again.best == swept.best
    runs = Runs(home)
    assert len(runs.with_subflows(runs.top()[0].id)) == 3  # each trial is a run below the sweep
    chosen = settled(config.train, swept.point, dataset, resolve(str(tiny_model)))
    assert chosen.learning_rate == swept.point["learning_rate"]


def test_settings_that_fail_are_an_answer(home: Path, dataset: DatasetVersion, tiny_model: Path) -> None:
    swept = sweep(config_of(tiny_model), dataset.address, Space(grid={"sequence_tokens": (12, 400)}))
    assert "TL-TRAIN-DATA" in swept.trials[0].failure
    assert swept.best == 1


def test_trouble_of_the_machine_is_no_answer(home: Path, dataset: DatasetVersion, tiny_model: Path) -> None:
    """The first trial is there already; that the second one had no time says nothing against its settings."""
    config = config_of(tiny_model)
    assert sweep(config, dataset.address, Space(grid={"learning_rate": (1e-5,)})).best == 0
    hurried = config.model_copy(update={"train": config.train.model_copy(update={"timeout_minutes": 0.001})})
    with pytest.raises(TrainingFailed) as caught:
        sweep(hurried, dataset.address, Space(grid={"learning_rate": (1e-5, 3e-5)}))
    assert caught.value.code == "TL-TRAIN-TIMEOUT"


def test_a_wrong_value_is_found_before_the_first_trial(home: Path, dataset: DatasetVersion, tiny_model: Path) -> None:
    with pytest.raises(UsageError) as caught:
        sweep(config_of(tiny_model), dataset.address, Space(grid={"learning_rate": (7e-5, "abc")}))
    assert caught.value.where == "train.learning_rate"
    runs = Runs(home)
    assert len(runs.with_subflows(runs.top()[0].id)) == 1  # nothing was tried


def test_only_a_preset_that_says_so_sweeps(dataset: DatasetVersion, tiny_model: Path) -> None:
    config = config_of(tiny_model)
    assert best_settings(config, dataset, resolve(str(tiny_model))) == config
