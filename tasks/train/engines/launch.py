"""Several trainer processes on this machine as one: `python -m tasks.train.engines.launch JOB.json PROCESSES`.

Takes the place of the process that decided to need several (same pid, same standard input and output), so whoever
started that one sees one process with one ending. Why not torchrun's agent: it opens a port, restarts by itself, and
its children survive when it is killed; here the next start belongs to the supervisor. Under torchrun (several nodes)
the worker module runs as it is and this one is not used.

Events of the first process are passed on, of the others only errors. When one process ends badly, the others are
killed at once: they would wait for it for ever. The pipe of standard input ends them when this process is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from tasks.adapters.processes import EVENT_PREFIX, die_with_parent

RENDEZVOUS = "TUNELOOP_RENDEZVOUS"
"""Name of the file in which the processes find one another; needs no port."""
_POLL_SECONDS = 0.02
_STOPPED = 128 + signal.SIGTERM
_ERROR_EVENT = f'{EVENT_PREFIX}{{"event": "error"'


def become_launcher(job: str, processes: int) -> None:
    """Put the launcher in the place of this process. Does not return."""
    os.execv(sys.executable, [sys.executable, "-m", "tasks.train.engines.launch", job, str(processes)])  # noqa: S606


def main(arguments: Sequence[str]) -> int:
    """Run the processes to their end; the exit code is that of the first that failed (its signal, if it had one)."""
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stop.append(number))
    die_with_parent()
    errors: dict[int, str] = {}
    with tempfile.TemporaryDirectory(prefix="tuneloop-ranks-") as folder:
        ranks = [
            _start(arguments[0], rank, int(arguments[1]), Path(folder) / "rendezvous")
            for rank in range(int(arguments[1]))
        ]
        readers = [
            threading.Thread(target=_pass_on, args=(rank.stdout, number, errors)) for number, rank in enumerate(ranks)
        ]
        for reader in readers:
            reader.start()
        number, code = watch(ranks, stop)
        for reader in readers:
            reader.join()
    _write(sys.stdout, errors.get(number, ""))
    if code < 0:
        _die_of(-code)
    return code


def _start(job: str, rank: int, size: int, rendezvous: Path) -> subprocess.Popen[str]:
    # gloo looks up the machine's own name for its address; a machine's name need not lead anywhere
    environment = {
        "GLOO_SOCKET_IFNAME": "lo",
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        RENDEZVOUS: str(rendezvous),
    }
    command = [sys.executable, "-m", "tasks.train.worker", job]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def _pass_on(lines: TextIO | None, rank: int, errors: dict[int, str]) -> None:
    """Events of the first process go on at once. Errors wait: only that of the process which failed first is told."""
    for line in lines or ():
        if line.startswith(_ERROR_EVENT):
            errors[rank] = line
        elif rank == 0:
            _write(sys.stdout, line)
        elif not line.startswith(EVENT_PREFIX):
            _write(sys.stderr, f"[process {rank}] {line}")


def _write(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()


def watch(ranks: Sequence[subprocess.Popen[str]], stop: list[int]) -> tuple[int, int]:
    """Wait for all; when one fails, kill the rest. SIGTERM goes to all. The first failure: whose, and its code."""
    passed_on, first = False, None
    while True:
        codes = [rank.poll() for rank in ranks]
        failed = {number: code for number, code in enumerate(codes) if code}
        if failed and first is None:
            first = min(failed.items(), key=lambda item: (_says_little(item[1]), item[0]))
        if first and first[1] != _STOPPED:  # after SIGTERM the others come to their end by themselves
            for rank in ranks:
                rank.kill()
        if all(code is not None for code in codes):
            return first or (0, 0)
        if stop and not passed_on:
            passed_on = True
            for rank in ranks:
                rank.terminate()
        time.sleep(_POLL_SECONDS)


def _says_little(code: int) -> bool:
    """An unexpected exception is what a process ends with when another one has gone: the other one's code says more."""
    return code == 1


def _die_of(number: int) -> None:
    """End by the same signal, so that whoever waits for this process sees what happened."""
    sys.stdout.flush()
    signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
