"""A run in another process is ended from here, and Prefect calls it cancelled."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from deployments.run_history import DATABASE
from deployments.runs import cancel as module
from deployments.runs.cancel import cancel, newest_checkpoint
from deployments.runs.prefect_history import DatabaseHistory
from deployments.runs.views import Runs
from tasks.adapters.processes import LONGEST_GRACE_SECONDS
from tasks.adapters.runs import RunProcess, note_output

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


@contextmanager
def waiting_run(home: Path, run_database: Path) -> Iterator[subprocess.Popen[str]]:
    shutil.copytree(run_database, home / "prefect")
    environment = {**os.environ, "TUNELOOP_HOME": str(home), "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}
    environment.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "waiting_run", str(home)]
    process = subprocess.Popen(command, cwd=HERE, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        yield process
    finally:
        process.kill()
        process.wait()


def opened(home: Path) -> Runs:
    return Runs(home, DatabaseHistory(home / DATABASE))


@pytest.mark.long
def test_a_run_of_another_process_is_cancelled(
    registry_home: Path, run_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with waiting_run(registry_home, run_database) as process:
        runs = opened(registry_home)
        run = runs.find("waiting run")
        assert runs.view(run).state == "preprocessing"
        key = "7" * 64
        note_output([run.id], "train", f"store://train/{key}", "ds://p/main@1.0.0")
        for step in (20, 120):
            (registry_home / "work" / "train" / key / "checkpoints" / f"step-{step}").mkdir(parents=True)
        runs = opened(registry_home)
        ended = cancel(runs, run)
        process.wait(10)
    assert ended.checkpoint_step == newest_checkpoint(runs, run.id) == 120
    (view,) = opened(registry_home).views()
    assert view.state == "cancelled"


def test_a_run_whose_trainer_takes_long_to_end_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert module.END_SECONDS > LONGEST_GRACE_SECONDS
    monkeypatch.setattr(module, "TERM_GRACE_SECONDS", 0.2)
    slow = (
        "import signal, time; signal.signal(15, lambda *_: time.sleep(1) or exit(0)); print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", slow], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        started = psutil.Process(process.pid).create_time()
        module._end(RunProcess(host=socket.gethostname(), pid=process.pid, started=started))
    assert not psutil.pid_exists(process.pid)
    assert "writes a checkpoint first: at most" in caplog.text


def test_a_run_whose_process_was_killed_is_not_called_running(
    registry_home: Path, run_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with waiting_run(registry_home, run_database) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        runs = opened(registry_home)
        (view,) = runs.views()
        assert (view.state, view.detail) == ("failed", "its process is gone: the same command goes on")
        assert cancel(runs, runs.find(view.short)).checkpoint_step is None
        assert opened(registry_home).views()[0].state == "cancelled"
