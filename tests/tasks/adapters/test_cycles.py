"""Rare collections while libraries are loaded, the usual ones afterwards."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tasks.adapters.base_models import resolve
from tasks.adapters.cycles import collect_as_usual, collect_rarely
from tasks.inference.engine import Engine
from tasks.train.estimate.process import Request, estimate
from tasks.train.worker import run_job
from tests.tasks.train.training_rows import make_job


@pytest.fixture(autouse=True)
def settings_put_back() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def collections_of(containers: int) -> int:
    before = gc.get_stats()[0]["collections"]
    kept = [[] for _ in range(containers)]
    assert len(kept) == containers
    return int(gc.get_stats()[0]["collections"] - before)


def test_loading_is_not_interrupted_by_collections() -> None:
    gc.set_threshold(700)
    assert collections_of(40_000) > 40
    collect_rarely()
    assert collections_of(40_000) <= 1


def test_afterwards_only_what_is_new_is_looked_at() -> None:
    gc.set_threshold(600, 7, 8)
    collect_rarely()
    collect_rarely()
    there = gc.get_freeze_count()
    loaded = [[] for _ in range(10_000)]
    collect_as_usual()
    assert gc.get_freeze_count() > there + len(loaded) // 2
    assert gc.get_threshold() == (600, 7, 8)
    assert collections_of(40_000) > 40


def test_a_process_that_was_not_told_is_left_alone() -> None:
    gc.set_threshold(12_345)
    there = gc.get_freeze_count()
    loaded = [[] for _ in range(10_000)]
    collect_as_usual()
    assert gc.get_threshold()[0] == 12_345
    assert gc.get_freeze_count() < there + len(loaded) // 2  # other threads may free what is set aside, at any time


def threshold_at_first_pass(work: Callable[[], object]) -> int:
    """The threshold when a model computes for the first time, in a process that loaded its libraries rarely."""
    seen: list[int] = []
    watch = torch.nn.modules.module.register_module_forward_pre_hook(lambda *_: seen.append(gc.get_threshold()[0]))
    try:
        gc.set_threshold(600)
        collect_rarely()
        work()
    finally:
        watch.remove()
    return seen[0]


def test_a_trainer_and_an_estimate_compute_with_the_usual_collections(
    home: Path, tiny_model: Path, tmp_path: Path
) -> None:
    trained, estimated = make_job(tmp_path / "a", tiny_model), make_job(tmp_path / "b", tiny_model, rows=400)
    assert threshold_at_first_pass(lambda: run_job(trained, bool)) == 600
    assert threshold_at_first_pass(lambda: estimate(Request(job=estimated))) == 600


def test_a_model_that_answers_has_the_usual_collections(tiny_model: Path, home: Path) -> None:
    gc.set_threshold(600)
    collect_rarely()
    Engine.load(resolve(str(tiny_model)), None, "none")
    assert gc.get_threshold()[0] == 600
