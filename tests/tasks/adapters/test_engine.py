from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tasks.adapters.engine import open_engine
from tasks.errors import EnvironmentUnusable, UsageError

ROOT = Path(__file__).parent.parent.parent.parent


def squared(number: int) -> tuple[int, int]:
    time.sleep(0.01 if number % 2 else 0)
    return number * number, os.getpid()


def refused(number: int) -> int:
    raise UsageError("no number", where=f"item {number}", remedy="give none")


def killed(parent: int, _number: int) -> int:
    if os.getpid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    return 0


@pytest.mark.parametrize(("workers", "processes"), [("1", 1), ("2", 2)])
def test_results_come_in_the_order_of_the_items(monkeypatch: pytest.MonkeyPatch, workers: str, processes: int) -> None:
    monkeypatch.setenv("TUNELOOP_WORKERS", workers)
    with open_engine(20, 0) as engine:
        assert engine.workers == processes
        results = list(engine.map(squared, range(20)))
    assert [r for r, _ in results] == [n * n for n in range(20)]
    assert (os.getpid() in {pid for _, pid in results}) is (processes == 1)


@pytest.mark.parametrize(("size", "processes"), [(0, 1), ((4 << 20) - 1, 1), (4 << 20, 2), (4 << 30, 2)])
def test_little_data_is_not_worth_a_second_process(monkeypatch: pytest.MonkeyPatch, size: int, processes: int) -> None:
    monkeypatch.delenv("TUNELOOP_WORKERS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    with open_engine(20, size) as engine:
        assert engine.workers == processes
    with open_engine(1, size) as engine:
        assert engine.workers == 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_coded_error_arrives_whole(monkeypatch: pytest.MonkeyPatch, workers: str) -> None:
    monkeypatch.setenv("TUNELOOP_WORKERS", workers)
    with open_engine(2, 0) as engine, pytest.raises(UsageError) as error:
        list(engine.map(refused, [1, 2]))
    assert (error.value.where, error.value.remedy) == ("item 1", "give none")


def test_only_a_few_items_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELOOP_WORKERS", "2")
    taken: list[int] = []

    def items() -> object:
        for number in range(100):
            taken.append(number)
            yield number

    with open_engine(100, 0) as engine:
        results = engine.map(squared, items())  # type: ignore[arg-type]
        next(results)
        assert len(taken) <= 5


def test_a_killed_worker_is_a_coded_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELOOP_WORKERS", "2")
    with open_engine(2, 0) as engine, pytest.raises(EnvironmentUnusable, match="ended from outside"):
        list(engine.map(functools.partial(killed, os.getpid()), [1, 2]))


def test_workers_end_with_their_parent() -> None:
    program = (
        "import time\n"
        "from tasks.adapters.engine import LocalProcesses\n"
        "if __name__ == '__main__':\n"
        "    engine = LocalProcesses(2)\n"
        "    print(sum(engine.map(abs, range(4))), flush=True)\n"
        "    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "6\n"
    workers = psutil.Process(parent.pid).children(recursive=True)
    assert workers
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []


def test_ray_without_a_cluster_is_a_coded_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELOOP_ENGINE", "ray")
    monkeypatch.setenv("TUNELOOP_RAY_ADDRESS", "auto")
    with pytest.raises(EnvironmentUnusable, match="Ray cluster"), open_engine(2, 0):
        pass
