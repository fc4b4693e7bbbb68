"""A training that has finished is never trained again, whatever fails before the store has its result."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from s3fs import S3FileSystem

from tasks.adapters.base_models import resolve
from tasks.adapters.store import Store
from tasks.train import failures as kinds
from tasks.train.adapter import WEIGHTS
from tasks.train.failures import Evidence
from tasks.train.finished import TAKEN, finished
from tasks.train.plan import Job
from tasks.train.stage import training
from tasks.train.supervise import limits_of, supervise
from tests.tasks.train.provocations import InProcess
from tests.tasks.train.test_resume import bucket  # noqa: F401  # a fixture
from tests.tasks.train.test_stage import CONFIG, make_dataset
from tests.tasks.train.test_supervise import Heard
from tests.tasks.train.training_rows import make_job


class Outage(S3FileSystem):  # type: ignore[misc]
    """An object store that takes no folder of a training for a while."""

    cachable = False
    out = True

    def put(self, lpath: Any, rpath: Any, *arguments: Any, **named: Any) -> Any:
        if self.out and "/stages/train/" in str(rpath):
            raise ConnectionError("the object store is away")
        return super().put(lpath, rpath, *arguments, **named)


def test_a_result_that_could_not_be_uploaded_is_taken_by_the_next_command(
    home: Path,
    tiny_model: Path,
    bucket: str,  # noqa: F811
    trained_here: InProcess,
) -> None:
    store, base, heard = Store(bucket, home), resolve(str(tiny_model)), Heard()
    store.fs = outage = Outage()
    dataset, config = make_dataset(store), CONFIG.model_copy(update={"checkpoint_steps": 1})
    with pytest.raises(ConnectionError):
        training(store, dataset, base, config, heard)
    assert [event["step"] for event in heard.all("progress")] == [1, 2]
    (key,) = store.remote_work("train")  # another machine could still go on
    assert not (home / "work" / "train" / key / "checkpoints").exists()
    outage.out, again = False, Heard()
    trained = training(store, dataset, base, config, again)
    assert [event["event"] for event in again.events] == ["begin", "note"]
    assert len(trained_here.jobs) == 1
    assert again.events[-1]["text"] == TAKEN
    assert (trained.new, trained.steps, trained.interruptions) == (True, 2, 0)
    assert store.verify(trained.uri) == []
    assert store.remote_work("train") == []
    assert not [path for path in (home / "work" / "train").iterdir() if path.is_dir()]


def killed_at_first(number: int, _job: Job) -> None:
    if number == 1:
        raise MemoryError


class KilledAfterIts:
    """Trains to the end; killed while it removes its checkpoints."""

    def __init__(self) -> None:
        self.train = InProcess(killed_at_first)

    def __call__(self, job: Job, seconds: float, on_event: Any) -> Evidence:
        found = self.train(job, seconds, on_event)
        if found.exit_code:
            return found
        left = job.work / "checkpoints" / "step-00000004"
        left.mkdir(parents=True)
        (left / "state.json").write_text("{}", encoding="utf-8")
        return Evidence(exit_code=-9, seconds=1.0)


def test_a_trainer_that_is_killed_after_its_result_is_not_started_again(
    home: Path, tiny_model: Path, tmp_path: Path
) -> None:
    job, heard, launch = make_job(tmp_path, tiny_model, micro_batch_rows=4), Heard(), KilledAfterIts()
    result = supervise(job, launch, heard, limits_of(job))
    assert len(launch.train.jobs) == 2
    assert [event["code"] for event in heard.all("failure")] == [kinds.OOM_HOST]
    assert heard.all("note")[-1]["text"] == TAKEN
    assert [text.partition(":")[0] for text in result.repairs] == [kinds.OOM_HOST]
    assert result.interruptions == 0
    assert not (job.work / "checkpoints").exists()
    later = InProcess()
    assert supervise(job, later, Heard(), limits_of(job)) == result
    assert later.jobs == []


@pytest.mark.parametrize("harm", ["file", "note", "other"])
def test_a_damaged_or_foreign_result_is_not_taken(home: Path, tiny_model: Path, tmp_path: Path, harm: str) -> None:
    job, launch = make_job(tmp_path, tiny_model, epochs=1.0), InProcess()
    expected = supervise(job, launch, Heard(), limits_of(job))
    assert finished(job) == expected
    if harm == "file":
        (job.work / WEIGHTS).write_bytes((job.work / WEIGHTS).read_bytes()[:-1])
    elif harm == "note":
        (job.work / "training.json").write_text("{", encoding="utf-8")
    else:
        job = job.model_copy(update={"key": "a" * 64})
    assert finished(job) is None
    found = supervise(job, launch, Heard(), limits_of(job))
    assert len(launch.jobs) == 2
    assert found.adapter_digest == expected.adapter_digest


def test_a_result_outlives_the_machine_that_made_its_checkpoints(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    """All that is returned lies in the work folder: repairs too, which lay beside the checkpoints."""
    job = make_job(tmp_path, tiny_model, micro_batch_rows=4)
    expected = supervise(job, InProcess(killed_at_first), Heard(), limits_of(job))
    moved = job.model_copy(update={"work": tmp_path / "elsewhere"})
    shutil.copytree(job.work, moved.work)
    launch = InProcess()
    assert supervise(moved, launch, Heard(), limits_of(moved)) == expected
    assert expected.repairs
    assert launch.jobs == []
