"""Two processes on this machine: the same training as one, also when one of them is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tasks.errors import EnvironmentUnusable, UsageError
from tasks.train.attempts import LocalLaunch
from tasks.train.engines.launch import watch
from tasks.train.engines.ranks import chosen
from tasks.train.plan import Job
from tasks.train.supervise import train_in_process
from tasks.train.worker import RESULT, Result, run_job
from tests.tasks.train.training_rows import make_job


def ranks() -> dict[str, psutil.Process]:
    """The trainer processes below this one, by their number."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        try:
            if "tasks.train.worker" in process.cmdline() and "RANK" in process.environ():
                found[process.environ()["RANK"]] = process
        except psutil.Error:
            continue
    return found


def train_and_kill(job: Job, home: Path, victim: str) -> tuple[Result, list[dict[str, Any]]]:
    """Train with two processes; the victim is killed after the first checkpoint."""
    events: list[dict[str, Any]] = []

    def kill_once(event: dict[str, Any]) -> None:
        events.append(event)
        if event["event"] == "checkpoint" and [e["event"] for e in events].count("checkpoint") == 1:
            os.kill(ranks()[victim].pid, signal.SIGKILL)

    result = train_in_process(job, home=home, log_file=home / "train.log", on_event=kill_once)
    return result, events


@pytest.mark.long
def test_two_processes_one_of_them_killed_are_one_uninterrupted(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    """With two micro-batches a step even the sums are the same: the adapter is identical to the last bit.

    In bf16: rounded to it, a product is the same with one thread (two processes) and with two; in fp32 it need not be.
    """
    one = make_job(tmp_path / "one", tiny_model, precision="bf16")
    two = make_job(tmp_path / "two", tiny_model, precision="bf16", processes=2)
    assert run_job(one, bool)
    expected = Result.model_validate_json((one.work / RESULT).read_text())
    found, events = train_and_kill(two, home, victim="1")
    assert found.adapter_digest == expected.adapter_digest
    assert [(p.loss, p.tokens) for p in found.curve] == [(p.loss, p.tokens) for p in expected.curve]
    assert found.decisions["engine"].startswith("ddp")
    assert found.decisions["processes"].startswith("2")
    assert found.interruptions == 1
    assert next(e["step"] for e in events if e["event"] == "resumed") >= 2
    steps = [e["step"] for e in events if e["event"] == "progress"]
    assert len(steps) <= 6 + 6  # only the first process reports
    assert not ranks()


@pytest.mark.slow
def test_two_processes_in_fp32_are_one_but_for_rounding(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    one = make_job(tmp_path / "one", tiny_model, precision="fp32")
    two = make_job(tmp_path / "two", tiny_model, precision="fp32", processes=2)
    assert run_job(one, bool)
    expected = Result.model_validate_json((one.work / RESULT).read_text())
    found = train_in_process(two, home=home, log_file=home / "train.log", on_event=lambda _: None)
    assert [p.tokens for p in found.curve] == [p.tokens for p in expected.curve]
    assert [p.loss for p in found.curve] == pytest.approx([p.loss for p in expected.curve], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [{"dropout": 0.2}, {"adapter": "qlora", "expand_nf4": "off"}, {"micro_batch_rows": 1}],
)
@pytest.mark.parametrize("victim", ["0", "1"])
def test_a_killed_pair_goes_on_exactly(
    home: Path, tiny_model: Path, tmp_path: Path, change: dict[str, Any], victim: str
) -> None:
    whole, killed = (make_job(tmp_path / name, tiny_model, processes=2, **change) for name in ("whole", "killed"))
    expected = train_in_process(whole, home=home, log_file=home / "train.log", on_event=lambda _: None)
    found, _ = train_and_kill(killed, home, victim)
    assert found.adapter_digest == expected.adapter_digest
    assert [p.loss for p in found.curve] == [p.loss for p in expected.curve]


@pytest.mark.slow
def test_a_killed_launcher_takes_its_processes_along(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    seen: list[psutil.Process] = []

    def kill(event: dict[str, Any]) -> None:
        if event["event"] == "checkpoint" and not seen:
            seen.extend(ranks().values())
            psutil.Process(seen[0].ppid()).kill()

    job = make_job(tmp_path, tiny_model, processes=2)
    evidence = LocalLaunch(home, home / "train.log")(job, 60, kill)
    assert evidence.exit_code == -signal.SIGKILL
    _, alive = psutil.wait_procs(seen, timeout=10)
    assert len(seen) == 2
    assert not alive


def test_a_split_engine_is_refused_on_a_cpu(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnusable, match="zero3 needs a GPU"):
        run_job(make_job(tmp_path, tiny_model, engine="zero3"), bool)


def test_another_number_of_processes_than_was_asked_for_is_refused(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UsageError, match="4 processes were started, and the configuration asks for 2"):
        chosen(make_job(tmp_path, tiny_model, processes=2))


def pretend(ending: str) -> subprocess.Popen[str]:
    """A process that sleeps, is killed, or ends with this code; all but those that sleep have ended already."""
    script = {
        "sleep": "import time; time.sleep(60)",
        "kill": "import os; os.kill(os.getpid(), 9)",
        "later 143": "import time; time.sleep(2); raise SystemExit(143)",
    }
    process = subprocess.Popen([sys.executable, "-c", script.get(ending, f"raise SystemExit({ending})")], text=True)
    if ending not in ("sleep", "later 143"):
        process.wait()
    return process


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (("0", "0"), (0, 0)),
        (("30", "sleep"), (0, 30)),
        (("sleep", "kill"), (1, -signal.SIGKILL)),
        (("143", "143"), (0, 143)),
    ],
)
def test_the_first_failure_is_told_and_the_others_end(codes: tuple[str, str], expected: tuple[int, int]) -> None:
    started = [pretend(code) for code in codes]
    assert watch(started, []) == expected
    assert all(process.poll() is not None for process in started)


def test_processes_that_stop_when_asked_are_left_to_end_by_themselves() -> None:
    """The second one still has its checkpoint to write: it is not killed."""
    started = [pretend("143"), pretend("later 143")]
    assert watch(started, []) == (0, 143)
    assert [process.returncode for process in started] == [143, 143]
