"""Several trainer processes on a CPU in the engines that only GPUs are offered: their code is the same."""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

from tasks.train.plan import Decision, Job

STOP_AFTER = "TUNELOOP_TEST_STOP_AFTER"


def run_in(engine: str, job: Job, stop_after: int | None = None, processes: int = 2) -> bool:
    """Run a job in an engine; whether it came to its end. Stops after that many steps."""
    meet = job.work.parent / f"meet-{engine}-{stop_after}"
    arguments = [(rank, processes, engine, job.model_dump_json(), meet, stop_after) for rank in range(processes)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        ends: list[bool] = pool.starmap(_rank, arguments, chunksize=1)
    assert len(set(ends)) == 1
    return ends[0]


def _rank(rank: int, size: int, engine: str, job: str, meet: Path, stop_after: int | None) -> bool:
    from tasks.train.engines.choose import Choice
    from tasks.train.engines.ranks import RENDEZVOUS, join, leave, take_own_device
    from tasks.train.worker import _run_share

    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size),
        RENDEZVOUS: str(meet), "GLOO_SOCKET_IFNAME": "lo", "DS_ACCELERATOR": "cpu",
    }  # fmt: skip
    sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
    take_own_device()
    share = join(engine)
    choice = Choice(engine=Decision(value=engine, reason="the test's"), processes=size)
    asked: list[Any] = []

    def stop() -> bool:
        asked.append(1)
        return stop_after is not None and len(asked) > stop_after

    try:
        return _run_share(Job.model_validate_json(job), stop, choice, share)
    finally:
        leave()
