"""Starts trainer processes that die: forked from a process that has imported everything, killed at a planned moment.

A kill is a real SIGKILL. At a write boundary the process sends it to itself out of an audit hook: Python tells of
every file that is opened, renamed or removed, so no line of the product knows of it. At a random moment it comes from
outside.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

EVENTS = frozenset(
    {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink", "shutil.rmtree"}
)
_POLL_SECONDS = 0.005
_LIMIT_SECONDS = 600.0


@dataclass(frozen=True)
class Kill:
    """When an attempt is killed.

    boundary: before write number `number` of the save after `saves` others.
    start:    before write number `number` after the process has started.
    random:   `wait` of the usual duration after the first checkpoint is there.
    """

    kind: Literal["boundary", "start", "random"]
    number: int = 0
    saves: int = 0
    wait: float = 0.0
    rank: int = 0


@dataclass(frozen=True)
class Ending:
    """How an attempt ended."""

    code: int
    events: list[dict[str, Any]]

    def last_step(self) -> int:
        return max((e["step"] for e in self.events if e["event"] == "progress"), default=0)

    def resumed(self) -> int:
        return max((e["step"] for e in self.events if e["event"] == "resumed"), default=0)


Body = Callable[[], int]


def forked(body: Body, log: Path, kill: Kill | None, folder: str, save_mark: str, environment: dict[str, str]) -> int:
    """Run `body` in a process of its own; its standard output goes to `log`. Returns the process id."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        _redirect(log)
        os.environ.update(environment)
        arm(kill, folder, save_mark)
        code = body()
        sys.stdout.flush()
        os._exit(code)
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _redirect(log: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    reading, writing = os.pipe()  # the worker ends when its standard input closes; both ends live as long as it does
    os.set_inheritable(writing, True)
    os.dup2(reading, 0)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115


def arm(kill: Kill | None, folder: str, save_mark: str) -> None:
    """Count writes below a folder from now on, and die before the planned one. Without a plan the counts are told."""
    if kill is not None and kill.kind == "random":
        return
    seen = {"saves": 0, "writes": 0}

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in EVENTS or not _is_ours(arguments, folder):
            return
        if event == "os.mkdir" and save_mark in os.fspath(arguments[0]):
            if kill is None:
                os.write(1, f'@boundaries {{"save": {seen["saves"]}, "writes": {seen["writes"]}}}\n'.encode())
            seen["saves"] += 1
            seen["writes"] = 0
        active = kill is None or (seen["saves"] > kill.saves if kill.kind == "boundary" else seen["saves"] == 0)
        if active and (kill is None or kill.kind == "boundary" or _writes(event, arguments)):
            seen["writes"] += 1
            if kill is not None and seen["writes"] == kill.number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _is_ours(arguments: tuple[Any, ...], folder: str) -> bool:
    """Whether a path lies below the folder; a name without a folder belongs to a folder that is being removed."""
    path = arguments[0]
    if not isinstance(path, str | os.PathLike):
        return False
    text = os.fspath(path)
    return isinstance(text, str) and (text.startswith(folder) or not text.startswith("/"))


def _writes(event: str, arguments: tuple[Any, ...]) -> bool:
    return event != "open" or bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def run_attempt(
    job: Path, processes: int, kill: Kill | None, ready: Callable[[], bool], usual_seconds: float
) -> Ending:
    """One start of our trainer on a job, as its launcher starts it; killed as planned or run to its end."""
    from tasks.train import worker

    folder = job.parent
    log = folder / "attempt.log"
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="rendezvous-") as meeting:
        children = []
        for rank in range(processes):
            own = kill if kill and kill.rank == rank else Kill("random")
            environment = _environment(rank, processes, Path(meeting) / "file") if processes > 1 else {}
            children.append(
                forked(
                    lambda: worker.main([str(job)]),
                    log if rank == 0 else folder / f"attempt-{rank}.log",
                    own if kill else None,
                    str(folder / "work"),
                    "/.step-",
                    environment,
                )
            )
        code = wait_for(children, kill, ready, usual_seconds)
    return Ending(code, read_events(log))


def _environment(rank: int, processes: int, meeting: Path) -> dict[str, str]:
    from tasks.train.engines.launch import RENDEZVOUS

    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    return {name: str(value) for name, value in numbers.items()} | {
        RENDEZVOUS: str(meeting),
        "GLOO_SOCKET_IFNAME": "lo",
    }


def wait_for(children: Sequence[int], kill: Kill | None, ready: Callable[[], bool], usual_seconds: float) -> int:
    """Wait for all; the first that ends badly takes the others with it. A random kill is done from here."""
    alive, codes = set(children), dict.fromkeys(children, 0)
    began, due = time.monotonic(), None
    while alive:
        for child in tuple(alive):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                alive.discard(child)
                codes[child] = os.waitstatus_to_exitcode(status)
                if codes[child]:
                    _kill(alive)
        if kill and kill.kind == "random" and due is None and ready():
            due = time.monotonic() + kill.wait * usual_seconds
        if due is not None and time.monotonic() >= due and kill:
            _kill({children[kill.rank]} & alive)
            due = float("inf")
        if time.monotonic() - began > _LIMIT_SECONDS:
            _kill(alive)
        time.sleep(_POLL_SECONDS)
    return next((code for code in codes.values() if code == -signal.SIGKILL), max(codes.values(), key=abs))


def _kill(processes: set[int]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def read_events(log: Path) -> list[dict[str, Any]]:
    """Events of a log; a line that the kill has cut off is none."""
    events = []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else ():
        for mark in ("@tuneloop ", "@boundaries "):
            if line.startswith(mark):
                with contextlib.suppress(ValueError):
                    events.append({"event": "boundaries"} | json.loads(line[len(mark) :]))
    return events


def kind_of(number: int) -> Literal["boundary", "start", "random"]:
    """Every eighth kill is at the start, about every third at a random moment, the others at a boundary."""
    return "start" if number % 8 == 5 else "random" if number % 3 == 2 else "boundary"


def plans(count: int, boundaries: int, starts: int, processes: int, chance: random.Random, first: int) -> list[Kill]:
    """Planned kills. Boundaries and writes at the start come in turn, beginning at `first`."""
    planned: list[Kill] = []
    for number in range(count):
        kind = kind_of(number)
        turn = first + sum(kill.kind == kind for kill in planned)
        if kind == "start":
            planned.append(Kill("start", number=1 + turn % starts))
        elif kind == "random":
            planned.append(Kill("random", wait=chance.uniform(0, 0.5), rank=chance.randrange(processes)))
        else:
            planned.append(Kill("boundary", number=1 + turn % boundaries, saves=chance.randrange(3)))
    return planned
