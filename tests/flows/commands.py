"""Run the `tuneloop` command as a user would, and look at what it left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent.parent
_OURS = ("TUNELOOP_HOME", "PREFECT_HOME", "PREFECT_API_URL")


def environment(**more: str) -> dict[str, str]:
    """The environment of a user who set nothing, in CI's plain output."""
    return {**{k: v for k, v in os.environ.items() if k not in _OURS}, "CI": "true", **more}


def tuneloop(*arguments: str, module: str = "deployments.cli", **more: str) -> subprocess.CompletedProcess[str]:
    """The command to its end; `more` is added to its environment."""
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment(**more), timeout=1200)


def start(*arguments: str) -> subprocess.Popen[str]:
    """The command in the background, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "deployments.cli", *arguments], cwd=ROOT, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def run_json(config: Path, *more: str, server: str = "") -> tuple[dict[str, Any], subprocess.CompletedProcess[str]]:
    """`tuneloop run CONFIG --json`; with a server's URL it reports there, and starts none of its own."""
    named = {"PREFECT_API_URL": server} if server else {}
    done = tuneloop("run", str(config), "--json", *more, **named)
    assert done.stdout, done.stderr
    return json.loads(done.stdout), done


def processes_of(folder: Path) -> list[str]:
    """Command lines of live processes that have to do with a folder."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "environ", "status"]):
        command = " ".join(process.info["cmdline"] or [])
        home = str((process.info["environ"] or {}).get("TUNELOOP_HOME", ""))
        alive = process.info["status"] != psutil.STATUS_ZOMBIE and process.info["pid"] != os.getpid()
        if alive and str(folder) in command + home:
            found.append(command)
    return found
