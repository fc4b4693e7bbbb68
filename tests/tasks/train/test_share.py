"""The parts of several processes: together the whole step, and gradients that add up to those of one process."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.train.plan import plan_steps
from tasks.train.recipe import Recipe
from tasks.train.share import Share


@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=60), size=st.integers(1, 5), micro=st.integers(1, 4))
def test_the_parts_of_a_step_are_the_step(lengths: list[int], size: int, micro: int) -> None:
    steps = plan_steps(lengths, Recipe(batch_rows=4 * micro, micro_batch_rows=micro, epochs=2.0))
    for step in steps:
        parts = [Share(rank, size).part(step) for rank in range(size)]
        dealt = [parts[n % size][n // size] for n in range(len(step))]
        assert dealt == [(rows, 1.0) for rows in step]
        assert sum(len(part) for part in parts) == len(step)


@given(count=st.integers(1, 9), size=st.integers(1, 5))
def test_in_lockstep_every_process_computes_as_often_and_nothing_counts_twice(count: int, size: int) -> None:
    parts = [Share(rank, size, engine="fsdp2").part(range(count)) for rank in range(size)]
    assert len({len(part) for part in parts}) == 1
    assert sorted(micro for part in parts for micro, weight in part if weight) == list(range(count))


def test_one_process_is_left_alone() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    Share().sum_gradients([weight])
    assert weight.grad is None
    assert Share().sum_value(0.1) == 0.1
    Share().barrier()


def test_gradients_are_summed_also_where_a_process_has_none(tmp_path: Path) -> None:
    kinds = (torch.float32, torch.bfloat16)
    assert _in_processes(_sums_of_two, tmp_path, kinds) == [[([3.0, 5.0], [4.0], 1.5)] * 2] * 2


def _sums_of_two(share: Share, kinds: tuple[torch.dtype, ...]) -> list[Any]:
    return [_sum_of_two(share, kind) for kind in kinds]


def _sum_of_two(share: Share, kind: torch.dtype) -> Any:
    both, one = (torch.nn.Parameter(torch.zeros(n, dtype=kind)) for n in (2, 1))
    both.grad = torch.tensor([1.0, 2.0], dtype=kind) + share.rank
    if share.rank == 1:
        one.grad = torch.tensor([4.0], dtype=kind)
    share.sum_gradients([both, one])
    share.barrier()
    assert one.grad is not None
    return both.grad.tolist(), one.grad.tolist(), share.sum_value(0.5 + 0.5 * share.rank)


def _in_processes(work: Any, folder: Path, argument: Any) -> list[Any]:
    """What each of two processes gives."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        return pool.starmap(_as_rank, [(work, rank, folder, argument) for rank in range(2)], chunksize=1)


def _as_rank(work: Any, rank: int, folder: Path, argument: Any) -> Any:
    torch.distributed.init_process_group("gloo", init_method=(folder / "meet").as_uri(), rank=rank, world_size=2)
    try:
        return work(Share(rank, 2), argument)
    finally:
        torch.distributed.destroy_process_group()
