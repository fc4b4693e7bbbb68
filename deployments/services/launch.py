"""Start child processes of ours: leashed, logged, marked with the home they belong to, and find them again."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import psutil

from tasks.adapters.processes import remember

HOME_MARK = "TUNELOOP_STARTED_FOR"
_ROOT = Path(__file__).resolve().parents[2]


def child_environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment of a process that works for `home`: this process's own, with folders and import path settled."""
    environment = {
        **os.environ,
        "TUNELOOP_HOME": str(home),
        "PREFECT_HOME": str(home / "prefect"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # a tasks.py beside somebody's config must not shadow ours
        **(extra or {}),
    }
    if str(_ROOT) not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([str(_ROOT), *filter(None, inherited)]))
    return environment


def start_leashed(
    command: tuple[str, ...], *, name: str, home: Path, log_file: Path, environment: Mapping[str, str], cwd: Path
) -> subprocess.Popen[bytes]:
    """Start `command` as a child that ends with this process and is remembered under HOME/processes.

    The kernel ties the child to the thread that starts it: call this from a thread that lives as long as the child
    is needed, normally the main thread.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    leashed = [sys.executable, "-m", "deployments.services.leash", str(os.getpid()), *command]
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            leashed, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=cwd, start_new_session=True,
            env=dict(environment),
        )  # fmt: skip
    remember(home, process.pid, name)
    return process


def forget(home: Path, pid: int) -> None:
    """Remove the note of a child that has ended."""
    (home / "processes" / f"{pid}.json").unlink(missing_ok=True)


def marked(home: Path) -> list[psutil.Process]:
    """Every running process that services of this home started, grandchildren included (by an inherited mark)."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(HOME_MARK) == str(home) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def last_lines(log_file: Path, count: int = 8) -> str:
    """The end of a log file, for an error message."""
    if not log_file.exists():
        return ""
    with log_file.open("rb") as stream:
        stream.seek(max(0, log_file.stat().st_size - 8192))
        lines = stream.read().decode("utf-8", "replace").splitlines()
    return "\n".join(lines[-count:])
