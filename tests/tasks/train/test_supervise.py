"""Training is brought to its end: killed, exploding, out of time, out of disk; what is repaired, and what it leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.failure_log import counts
from tasks.errors import EnvironmentUnusable, TrainingFailed, TuneloopError
from tasks.train import failures as kinds
from tasks.train.failures import Evidence, PodEnd
from tasks.train.next_attempt import Limits
from tasks.train.plan import Job
from tasks.train.repair_log import NAME
from tasks.train.supervise import limits_of, supervise, train_in_process
from tasks.train.worker import Result
from tests.tasks.train.provocations import InProcess, can_mount, limit_memory, small_disk, trainers, write_long_rows
from tests.tasks.train.training_rows import make_job, make_row, make_rows, write_rows

EXPLODES = {"learning_rate": 0.1, "weight_decay": 150.0, "epochs": 5.0, "adapter": "lora"}  # decay × rate is above 2


class Heard:
    """What was said, and something to do at an event."""

    def __init__(self, kind: str = "", act: Any = None) -> None:
        self.events: list[dict[str, Any]] = []
        self.kind, self.act = kind, act

    def __call__(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        if event["event"] == self.kind:
            self.act()

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]


def train(job: Job, home: Path, on_event: Any) -> Result:
    return train_in_process(job, home=home, log_file=home / "train.log", on_event=on_event)


def kill_trainer() -> None:
    os.kill(trainers()[0].pid, signal.SIGKILL)


# --- with a real trainer process


def test_a_killed_trainer_goes_on_from_its_checkpoint(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_once() -> None:
        if not killed:
            killed.append(1)
            kill_trainer()

    heard = Heard("checkpoint", kill_once)
    result = train(make_job(tmp_path, tiny_model), home, heard)
    assert result.interruptions == 1
    assert [e["code"] for e in heard.all("failure")] == [kinds.KILLED]
    assert len(heard.all("restart")) == 1
    assert heard.all("resumed")[0]["step"] >= 2
    assert [p.step for p in result.curve] == [1, 2, 3, 4, 5, 6]
    assert len(result.repairs) == 1
    assert "started again from the checkpoint of step 2" in result.repairs[0]
    assert not trainers()
    assert not list((home / "processes").iterdir())
    assert [(c.code, c.count, c.repaired) for c in counts()] == [(kinds.KILLED, 1, 1)]


@pytest.mark.slow
def test_too_little_time(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, tiny_model, epochs=20_000.0, timeout_minutes=0.05)
    with pytest.raises(TrainingFailed, match="longer than it may") as caught:
        train(job, home, lambda _: None)
    assert (caught.value.code, caught.value.where) == (kinds.TIMEOUT, "train.timeout_minutes")
    assert [(c.code, c.repaired, c.open) for c in counts()] == [(kinds.TIMEOUT, 0, 0)]


@pytest.mark.slow
def test_a_trainer_that_is_always_killed_is_given_up(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    heard = Heard("decisions", kill_trainer)
    with pytest.raises(TrainingFailed, match="was killed") as caught:
        train(make_job(tmp_path, tiny_model, max_attempts=2), home, heard)
    assert "2 times in a row" in caught.value.why
    assert len(heard.all("restart")) == 1


@pytest.mark.slow
def test_memory_that_runs_out_halves_the_micro_batch(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    batches: dict[str, Any] = {"batch_rows": 16, "micro_batch_rows": 16, "epochs": 1.0, "checkpoint_steps": 1}
    job = make_job(tmp_path, tiny_model, precision="fp32", **batches)  # 16 rows need as much on every processor
    write_long_rows(job.rows, 32, 100)
    limit, heard = limit_memory(260), Heard()

    def listen(event: dict[str, Any]) -> None:
        heard(event)
        limit(event)

    result = train(job, home, listen)
    assert {e["code"] for e in heard.all("failure")} == {kinds.OOM_HOST}
    assert 1 <= len(heard.all("failure")) <= 2
    assert "micro-batch 16 → 8 rows, accumulation 1 → 2" in result.repairs[0]
    assert [p.step for p in result.curve] == [1, 2]


@pytest.mark.slow
def test_one_of_two_processes_is_killed(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_second() -> None:
        ranks = (
            [p for p in trainers()[0].children() if "tasks.train.worker" in " ".join(p.cmdline())] if not killed else []
        )
        if ranks:
            killed.append(1)
            ranks[-1].kill()

    heard = Heard("checkpoint", kill_second)
    result = train(make_job(tmp_path, tiny_model, processes=2, epochs=4.0), home, heard)
    assert killed
    assert [p.step for p in result.curve] == list(range(1, 13))
    assert len(result.repairs) == 1


# --- the same trainer in this process


def limits(job: Job, **values: Any) -> Limits:
    return limits_of(job).model_copy(update=values)


def test_a_loss_that_explodes_is_trained_again_with_a_lower_rate(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    job, heard, launch = make_job(tmp_path, tiny_model, **EXPLODES), Heard(), InProcess()
    result = supervise(job, launch, heard, limits_of(job))
    assert [e["code"] for e in heard.all("failure")] == [kinds.NAN]
    assert "learning rate × 0.1" in heard.all("repair")[0]["change"]
    assert "learning rate × 0.1" in result.repairs[0]
    assert [p.step for p in result.curve] == list(range(1, 16))
    assert max(p.learning_rate for p in result.curve) == pytest.approx(0.01, rel=0.05)
    assert [len(j.amendments) for j in launch.jobs] == [0, 1]


def test_an_amended_training_is_stopped_and_goes_on_exactly(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    """The rate and the micro-batch of a repair hold after the next start as well, whoever starts it."""
    whole = make_job(tmp_path / "a", tiny_model, **EXPLODES)
    expected = supervise(whole, InProcess(), Heard(), limits_of(whole))
    job = make_job(tmp_path / "b", tiny_model, **EXPLODES)

    def stop_before_second(number: int, _job: Job) -> None:
        if number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        supervise(job, InProcess(stop_before_second), Heard(), limits_of(job))
    assert (job.work / "checkpoints" / NAME).is_file()
    found = supervise(job, InProcess(), Heard(), limits_of(job))
    assert found.adapter_digest == expected.adapter_digest
    assert found.repairs == expected.repairs


def test_a_smaller_micro_batch_learns_the_same(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    """Four rows in two pieces by a repair give, bit for bit, what two pieces by configuration give."""
    plain = make_job(tmp_path / "a", tiny_model, micro_batch_rows=2)
    expected = supervise(plain, InProcess(), Heard(), limits_of(plain))

    def out_of_memory(number: int, _job: Job) -> None:
        if number == 1:
            raise MemoryError

    job = make_job(tmp_path / "b", tiny_model, micro_batch_rows=4)
    found = supervise(job, InProcess(out_of_memory), Heard(), limits_of(job))
    assert "micro-batch 4 → 2 rows, accumulation 1 → 2: the same 4 rows a step" in found.repairs[0]
    assert found.adapter_digest == expected.adapter_digest
    again = make_job(tmp_path / "c", tiny_model, micro_batch_rows=4)

    def twice(number: int, _job: Job) -> None:
        if number <= 2:
            raise MemoryError

    last = supervise(again, InProcess(twice), Heard(), limits_of(again))
    assert last.decisions["activation_checkpointing"].startswith("on: repair after TL-TRAIN-OOM-HOST")


def test_a_row_that_cannot_be_used_is_named_without_its_text(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, tiny_model)
    write_rows(job.rows, [make_row(3, "Where?", "")])
    with pytest.raises(TrainingFailed, match="nothing to learn") as caught:
        supervise(job, InProcess(), Heard(), limits_of(job))
    assert "row dddddddddddddddd:3" in caught.value.where
    assert caught.value.remedy
    text = job.rows.read_text(encoding="utf-8")
    job.rows.write_text(text + text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(TrainingFailed, match="cannot be read") as cut:
        supervise(job, InProcess(), Heard(), limits_of(job))
    assert (cut.value.code, cut.value.where) == (kinds.DATA, f"{job.rows}:2")
    assert "Where?" not in str(cut.value)
    write_rows(job.rows, make_rows(11))
    with pytest.raises(TrainingFailed, match="rows are missing") as fewer:
        supervise(job.model_copy(update={"row_count": 12}), InProcess(), Heard(), limits_of(job))
    assert (fewer.value.code, fewer.value.why) == (kinds.DATA, "it holds 11 rows, the dataset version has 12")
    job.rows.unlink()
    with pytest.raises(TrainingFailed) as missing:
        supervise(job, InProcess(), Heard(), limits_of(job))
    assert (missing.value.code, missing.value.where) == (kinds.DATA, str(job.rows))


@pytest.mark.skipif(not can_mount(), reason="a file system of its own needs the right to mount")
def test_a_full_disk_stops_with_what_to_do_and_the_same_command_goes_on(
    home: Path, tiny_model: Path, tmp_path: Path
) -> None:
    whole = make_job(tmp_path / "a", tiny_model)
    expected = supervise(whole, InProcess(), Heard(), limits_of(whole))
    with small_disk(tmp_path / "small", 0.6) as folder:
        job = make_job(tmp_path / "b", tiny_model).model_copy(update={"work": folder})
        room = shutil.disk_usage(folder).free
        (folder / "others").write_bytes(b"x" * (room - 90_000))
        with pytest.raises(EnvironmentUnusable, match="disk is full") as caught:
            supervise(job, InProcess(), Heard(), limits_of(job))
        assert (caught.value.code, caught.value.exit_code) == (kinds.DISK, 50)
        assert "free some space" in caught.value.remedy
        (folder / "others").unlink()
        assert supervise(job, InProcess(), Heard(), limits_of(job)).adapter_digest == expected.adapter_digest


# --- endings that only other machines have, as evidence


class Scripted:
    """Ends as it is told, then trains."""

    def __init__(self, *endings: Evidence) -> None:
        self.endings, self.train = list(endings), InProcess()

    def __call__(self, job: Job, seconds: float, on_event: Any) -> Evidence:
        return self.endings.pop(0) if self.endings else self.train(job, seconds, on_event)


def test_an_evicted_pod_goes_on(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, tiny_model)
    evicted = Evidence(exit_code=137, pods=(PodEnd(reason="Evicted", name="train-0"),))
    killed = Evidence(exit_code=137, pods=(PodEnd(reason="OOMKilled", exit_code=137, name="train-0"),))
    result = supervise(job, Scripted(evicted, killed), Heard(), limits_of(job))
    assert [text.partition(":")[0] for text in result.repairs] == [kinds.EVICTED, kinds.OOM_KILLED]


def test_no_machine_is_waited_for_as_long_as_there_is_time(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    job, heard = make_job(tmp_path, tiny_model), Heard()
    nothing = Evidence(exit_code=1, pods=(PodEnd(reason="Unschedulable", message="0/4 nodes are available"),))
    with pytest.raises(TrainingFailed) as caught:
        supervise(job, Scripted(nothing), heard, limits(job, timeout_seconds=30.0))
    assert caught.value.code == kinds.TIMEOUT
    assert "no machine" in caught.value.why


def test_limits_come_from_the_configuration(tiny_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, tiny_model, max_attempts=3, timeout_minutes=2.0, max_cost=7.0)
    assert limits_of(job, 1.5) == Limits(max_attempts=3, timeout_seconds=120, max_cost=7.0, price_per_hour=1.5)


def test_a_training_that_costs_more_than_it_may_stops(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, tiny_model)
    killed = Evidence(exit_code=-9, seconds=1800.0)
    with pytest.raises(TuneloopError) as caught:
        supervise(job, Scripted(killed), Heard(), limits(job, max_cost=1.0, price_per_hour=4.0))
    assert (caught.value.code, caught.value.exit_code) == (kinds.COST, 40)


def test_a_price_that_only_the_trainer_knows_counts(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, tiny_model)

    def launch(_job: Job, _seconds: float, on_event: Any) -> Evidence:
        on_event({"event": "estimate", "price_per_hour": 4.0})
        return Evidence(exit_code=-9, seconds=1800.0)

    with pytest.raises(TuneloopError) as caught:
        supervise(job, launch, Heard(), limits(job, max_cost=1.0))
    assert caught.value.code == kinds.COST


def test_a_lost_network_is_waited_for(
    home: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, waited = make_job(tmp_path, tiny_model), list[float]()
    monkeypatch.setattr("tasks.train.supervise._wait", waited.append)
    lost = Evidence(exit_code=1, log_tail=("botocore.exceptions.EndpointConnectionError: Could not connect",))
    result = supervise(job, Scripted(lost), Heard(), limits_of(job))
    assert [text.partition(":")[0] for text in result.repairs] == [kinds.NETWORK]
    assert waited[0] > 0


def test_a_damaged_record_of_repairs_is_not_ignored(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, tiny_model)
    note = job.work / "checkpoints" / NAME
    note.parent.mkdir()
    note.write_text(json.dumps({"amendments": "none"}))
    with pytest.raises(TrainingFailed, match="record of repairs") as caught:
        supervise(job, InProcess(), Heard(), limits_of(job))
    assert caught.value.code == "TL-TRAIN-REPAIRS"
