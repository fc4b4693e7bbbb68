"""Each process sees the GPU that is its own, before anything asks the driver for devices."""

from __future__ import annotations

import os

import pytest
import torch

from tasks.errors import EnvironmentUnusable
from tasks.train.engines import ranks
from tasks.train.engines.ranks import take_own_device

VISIBLE = "CUDA_VISIBLE_DEVICES"


class Driver:
    """What CUDA's driver does: the first question fixes which devices this process sees."""

    def __init__(self, gpus: int) -> None:
        self.gpus = gpus
        self.seen: list[int] | None = None

    def is_available(self) -> bool:
        if self.seen is None:
            wanted = os.environ.get(VISIBLE)
            numbers = range(self.gpus) if wanted is None else map(int, wanted.split(","))
            self.seen = [number for number in numbers if number < self.gpus]
        return bool(self.seen)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None)
    monkeypatch.setenv(VISIBLE, "unset at the end of the test")
    monkeypatch.delenv(VISIBLE)
    return monkeypatch


def with_gpus(machine: pytest.MonkeyPatch, gpus: int, rank: int, visible: str | None = None) -> Driver:
    driver = Driver(gpus)
    machine.setattr(torch.cuda, "is_available", driver.is_available)
    machine.setattr(torch.cuda, "device_count", lambda: gpus)
    machine.setattr(ranks, "gpu_names", lambda: ("NVIDIA H200",) * gpus)
    machine.setenv("LOCAL_RANK", str(rank))
    machine.setenv("LOCAL_WORLD_SIZE", "2")
    if visible is not None:
        machine.setenv(VISIBLE, visible)
    return driver


@pytest.mark.parametrize(("visible", "rank", "own"), [(None, 0, 0), (None, 1, 1), ("3,1", 0, 3), ("3,1", 1, 1)])
def test_a_process_sees_its_own_gpu(machine: pytest.MonkeyPatch, visible: str | None, rank: int, own: int) -> None:
    driver = with_gpus(machine, 4, rank, visible)
    take_own_device()
    assert driver.is_available()
    assert driver.seen == [own]
    assert os.environ[VISIBLE] == str(own)


@pytest.mark.parametrize(("gpus", "visible"), [(1, None), (2, "0")])
def test_a_process_without_a_gpu_does_not_train_on_the_cpu(
    machine: pytest.MonkeyPatch, gpus: int, visible: str | None
) -> None:
    with_gpus(machine, gpus, 1, visible)
    with pytest.raises(EnvironmentUnusable, match="no GPU for process 1") as caught:
        take_own_device()
    assert caught.value.where == "train.processes"


def test_cuda_that_was_used_before_is_told(machine: pytest.MonkeyPatch) -> None:
    with_gpus(machine, 2, 1)
    machine.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(EnvironmentUnusable, match="no GPU for process 1"):
        take_own_device()


@pytest.mark.parametrize("visible", [None, "", "-1", "0"])
def test_on_a_cpu_the_variable_stays_as_it_is(machine: pytest.MonkeyPatch, visible: str | None) -> None:
    with_gpus(machine, 0, 1, visible)
    take_own_device()
    assert os.environ.get(VISIBLE) == visible
