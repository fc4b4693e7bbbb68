"""A trainer process among others: which number it has, its own device, and how it finds the others.

Numbers come from the environment, as torchrun and our own launcher set it. Each process sees exactly one GPU, so that
the rest of the stage need not know that there are more. Accelerate gets to know nothing of the others: it would wrap
the model in its own way, on a CPU always the same way whatever was asked for.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.adapters.devices import gpu_names
from tasks.errors import EnvironmentUnusable, UsageError
from tasks.train.engines.choose import Choice, Hardware, choose
from tasks.train.engines.launch import RENDEZVOUS, become_launcher
from tasks.train.plan import Decisions, Job
from tasks.train.share import SPLIT, Share

if TYPE_CHECKING:
    from collections.abc import Mapping

_HIDDEN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
_FEWER = "start as many processes as there are GPUs (train.processes), or make the others visible"
_NONE_VISIBLE = ("", "-1")  # a person's way to keep a process off the GPUs
_TIMEOUT = timedelta(minutes=30)  # a checkpoint of the first process may take long; a dead one is noticed at once


def is_rank(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether somebody has started this process as one of several."""
    return "RANK" in environment and "WORLD_SIZE" in environment


def look() -> Hardware:
    """The devices of this machine that this process may use."""
    import torch

    if not torch.cuda.is_available():
        return Hardware()
    memories = [torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())]
    return Hardware(gpus=len(memories), gpu_bytes=min(memories))


def enter(job_file: str, job: Job) -> None:
    """Called first by every trainer process. One that has to be several becomes their launcher and does not return."""
    if is_rank():
        take_own_device()
        return
    hardware = look()
    choice = choose(job.config, job.base.parameters, hardware)
    processes = _before(job) or choice.processes
    if processes > max(hardware.gpus, 1) and hardware.gpus:
        raise EnvironmentUnusable(
            f"this training was begun by {processes} processes",
            where="train.processes",
            why=f"there are {hardware.gpus} GPUs here now, and another number of processes gives another result",
            remedy=f"go on where there are {processes} GPUs, or start anew in another TUNELOOP_HOME",
        )
    if processes > 1 or hardware.gpus > 1:
        become_launcher(job_file, processes)


def _before(job: Job) -> int | None:
    """How many processes an earlier start of this training decided on."""
    note = job.work / "checkpoints" / "decisions.json"
    try:
        return int(Decisions.model_validate_json(note.read_text(encoding="utf-8")).processes.value)
    except (FileNotFoundError, ValueError):  # damaged: the copy in the checkpoint counts, and another number is said
        return None


def chosen(job: Job) -> Choice:
    """The engine for the processes that there are; every one of them comes to the same answer.

    Raises:
        UsageError: they were started with another number than the configuration says.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if job.config.processes not in (None, size):
        raise UsageError(
            f"{size} processes were started, and the configuration asks for {job.config.processes}",
            where="train.processes",
            remedy=f"start {job.config.processes}, or leave train.processes out",
        )
    seen = look()
    hardware = seen.model_copy(update={"gpus": size}) if seen.gpus else seen
    return choose(job.config.model_copy(update={"processes": size}), job.base.parameters, hardware)


def take_own_device() -> None:
    """See only the GPU, or on a CPU only the cores, that belong to this process. Before CUDA or threads are used.

    Raises:
        EnvironmentUnusable: there is no GPU for this process, or CUDA has been used already.
    """
    local, count = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if not _take_gpu(local):
        _take_cores(local, count)


def _take_gpu(local: int) -> bool:
    """Whether this process has a GPU of its own now.

    The driver reads CUDA_VISIBLE_DEVICES once, when it is asked for the first time, and `is_available` asks it: the
    variable has to stand before. Where there is no GPU after all, it is as it was.
    """
    import torch

    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    built: bool = torch.backends.cuda.is_built()  # type: ignore[no-untyped-call]
    if not built or (before is not None and before.strip() in _NONE_VISIBLE):
        return False
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        raise _no_gpu(local, "CUDA was used before the process had chosen its GPU", "this is a mistake in Tuneloop")
    names = before.split(",") if before is not None else []
    if names and local >= len(names):
        if torch.cuda.is_available():
            raise _no_gpu(local, f"CUDA_VISIBLE_DEVICES names {len(names)}: {before}", _FEWER)
        return False
    os.environ["CUDA_VISIBLE_DEVICES"] = names[local] if names else str(local)
    if torch.cuda.is_available():
        return True
    if gpu_names():
        raise _no_gpu(local, f"CUDA finds none under CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']}", _FEWER)
    _restore(before)
    return False


def _restore(visible: str | None) -> None:
    if visible is None:
        del os.environ["CUDA_VISIBLE_DEVICES"]
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible


def _no_gpu(local: int, why: str, remedy: str) -> EnvironmentUnusable:
    return EnvironmentUnusable(
        f"there is no GPU for process {local} of this machine", where="train.processes", why=why, remedy=remedy
    )


def _take_cores(local: int, count: int) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) >= count > 1:
        each = len(cores) // count
        os.sched_setaffinity(0, cores[local * each : (local + 1) * each])


def join(engine: str) -> Share:
    """This process's share; with others, or with an engine that splits weights, a process group is set up."""
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if size > 1 or engine in SPLIT:
        _set_up(rank, size)
    for name in _HIDDEN:
        os.environ.pop(name, None)
    return Share(rank=rank, size=size, engine=engine, local_rank=local)


def _set_up(rank: int, size: int) -> None:
    import torch

    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    common = {"backend": backend, "rank": rank, "world_size": size, "timeout": _TIMEOUT}
    if RENDEZVOUS in os.environ:
        torch.distributed.init_process_group(init_method=Path(os.environ[RENDEZVOUS]).as_uri(), **common)  # type: ignore[arg-type]
    elif "MASTER_ADDR" in os.environ:
        torch.distributed.init_process_group(init_method="env://", **common)  # type: ignore[arg-type]
    else:
        torch.distributed.init_process_group(store=torch.distributed.HashStore(), **common)  # type: ignore[attr-defined, arg-type]


def leave() -> None:
    """Take down the process group, at the end of a training."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
