"""Things that really go wrong with a trainer: memory that runs out, a full disk, a process that is killed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from tasks.adapters.processes import EVENT_PREFIX
from tasks.errors import TuneloopError
from tasks.train.attempts import OnEvent, as_failure, is_failure
from tasks.train.failure_report import failure_of
from tasks.train.failures import Evidence
from tasks.train.plan import Job
from tasks.train.worker import STOPPED, run_job
from tests.tasks.train.training_rows import make_row, write_rows

MEGABYTE = 2**20


def trainers() -> list[psutil.Process]:
    """Trainer processes that this process has started."""
    return [p for p in psutil.Process().children() if "tasks.train." in " ".join(p.cmdline())]


def limit_memory(megabytes: int) -> Callable[[dict[str, Any]], None]:
    """A listener that gives each trainer so much memory beside what it has once its decisions are taken."""

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "decisions":
            pid = trainers()[0].pid
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
            used = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData"))
            resource.prlimit(pid, resource.RLIMIT_DATA, (used + megabytes * MEGABYTE,) * 2)

    return listen


def write_long_rows(path: Path, rows: int, words: int) -> None:
    """Rows so long that the micro-batch decides what a step needs."""
    write_rows(path, [make_row(i, "Where is my bike? " * words, "We will ring. " * words) for i in range(rows)])


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: float) -> Iterator[Path]:
    """A file system of its own; needs the right to mount. Raises PermissionError without."""
    folder.mkdir(parents=True, exist_ok=True)
    size = f"size={int(megabytes * MEGABYTE)}"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], capture_output=True, text=True)
    if done.returncode:
        raise PermissionError(done.stderr.strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


class InProcess:
    """Runs the trainer in this process: what it raises becomes evidence as in a process of its own, events follow."""

    def __init__(self, before: Callable[[int, Job], None] = lambda _number, _job: None) -> None:
        self.before, self.jobs = before, []  # type: tuple[Callable[[int, Job], None], list[Job]]

    def __call__(self, job: Job, seconds: float, on_event: OnEvent) -> Evidence:
        self.jobs.append(job)
        said, printed, began = [], io.StringIO(), time.monotonic()
        try:
            with contextlib.redirect_stdout(printed):
                self.before(len(self.jobs), job)
                code = 0 if run_job(job, bool) else STOPPED
        except Exception as error:
            failure = failure_of(error)
            said.append(failure)
            code = error.exit_code if isinstance(error, TuneloopError) else 1
        for line in printed.getvalue().splitlines():
            if line.startswith(EVENT_PREFIX):
                event = json.loads(line.removeprefix(EVENT_PREFIX))
                said.append(as_failure(event)) if is_failure(event) else on_event(event)
        return Evidence(
            exit_code=code, seconds=time.monotonic() - began, timeout_seconds=seconds, said=tuple(said), log="log"
        )


def can_mount() -> bool:
    return os.geteuid() == 0
