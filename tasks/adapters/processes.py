"""Child processes that die with their parent, and what is left of a parent that was killed.

A worker (trainer, evaluator) gets a pipe as standard input: when the parent ends, however it ends, the pipe closes
and the worker exits. Everything started is also remembered with pid and start time under HOME/processes, so that
the next command can recognise and end what survived.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from tasks import progress
from tasks.adapters.threads import thread_environment

EVENT_PREFIX = "@tuneloop "
TERM_GRACE_SECONDS = 20.0
LONGEST_GRACE_SECONDS = 600.0  # for a worker that has told that what it is in the middle of takes longer than usual
Event = dict[str, Any]


def run_worker(
    module: str,
    arguments: list[str],
    *,
    home: Path,
    log_file: Path,
    on_event: Callable[[Event], None],
    timeout_seconds: float | None = None,
    time_to_end: Callable[[], float] = lambda: TERM_GRACE_SECONDS,
) -> int:
    """Run `python -m module arguments` to its end and pass on its events; everything else it prints is logged.

    Returns the exit code (negative: ended by that signal). When the caller is interrupted, the worker gets SIGTERM
    and time to write a checkpoint; so it does after `timeout_seconds`. `time_to_end` is called when it is asked to
    end, for the seconds that it gets; one that has not ended then is killed.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
            env={**os.environ, **thread_environment(), "PYTHONUNBUFFERED": "1"},
        )
        record = remember(home, process.pid, module)
        try:
            with _deadline(process, timeout_seconds, time_to_end):
                _pump(process, log.write, on_event)
                return process.wait()
        finally:
            if process.poll() is None:
                end(process.pid, time_to_end())
            process.wait()
            record.unlink(missing_ok=True)


@contextlib.contextmanager
def _deadline(
    process: subprocess.Popen[str], seconds: float | None, time_to_end: Callable[[], float]
) -> Iterator[None]:
    """SIGTERM when the time is over, SIGKILL where that had no effect. Popen itself must reap it, so no `end` here."""

    def stop() -> None:
        process.terminate()
        try:
            process.wait(time_to_end())
        except subprocess.TimeoutExpired:
            process.kill()

    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _pump(process: subprocess.Popen[str], write: Callable[[str], int], on_event: Callable[[Event], None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(EVENT_PREFIX):
            on_event(json.loads(line[len(EVENT_PREFIX) :]))
        else:
            write(line)
        progress.stop_if_interrupted()


def emit(event: Event) -> None:
    """Worker side: send one event to the parent, and to whoever else was named with `also_to`."""
    sys.stdout.write(EVENT_PREFIX + json.dumps(event) + "\n")
    sys.stdout.flush()
    for listener in _also:
        listener(event)


_also: list[Callable[[Event], object]] = []


def also_to(listener: Callable[[Event], object]) -> None:
    """Worker side: have every event that is emitted from now on handed to a listener as well."""
    _also.append(listener)


def die_with_parent() -> None:
    """Worker side: exit as soon as standard input closes. Call before anything slow is imported."""

    descriptor = sys.stdin.fileno()
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return  # started by hand, by torchrun or in a container: there is no parent that holds the other end of a pipe

    def watch() -> None:
        # Read the descriptor, not sys.stdin: a thread inside the buffered reader aborts the interpreter's exit.
        while os.read(descriptor, 4096):
            continue
        os._exit(128 + signal.SIGHUP)

    threading.Thread(target=watch, daemon=True, name="die-with-parent").start()


def remember(home: Path, pid: int, name: str) -> Path:
    """Note a child so that a later command can recognise it."""
    folder = home / "processes"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{pid}.json"
    note = {
        "pid": pid,
        "started": psutil.Process(pid).create_time(),
        "name": name,
        "parent": os.getpid(),
        "parent_started": psutil.Process().create_time(),
    }
    path.write_text(json.dumps(note), encoding="utf-8")
    return path


def end_leftovers(home: Path) -> list[str]:
    """End children whose parent is gone; names of what was ended."""
    ended = []
    for path in sorted((home / "processes").glob("*.json")):
        try:
            note = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            path.unlink(missing_ok=True)
            continue
        if is_alive(note["parent"], note["parent_started"]):
            continue
        if is_alive(note["pid"], note["started"]):
            end(note["pid"])
            ended.append(str(note["name"]))
        path.unlink(missing_ok=True)
    return ended


def is_alive(pid: int, started: float) -> bool:
    """Whether this very process (not another one that got its number) is running."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end(pid: int, grace_seconds: float = TERM_GRACE_SECONDS) -> None:
    """SIGTERM to a process and its children, SIGKILL to what is left after the grace."""
    try:
        top = psutil.Process(pid)
        family = [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    _signal(family, psutil.Process.terminate)
    _, alive = psutil.wait_procs(family, timeout=grace_seconds)
    _signal(alive, psutil.Process.kill)
    psutil.wait_procs(alive, timeout=5)


def _signal(processes: list[psutil.Process], action: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        try:
            action(process)
        except psutil.NoSuchProcess:
            continue
