"""What a command does to its own process before anything else: home folder, telemetry off, leftovers ended."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from tasks.adapters.processes import end_leftovers
from tasks.errors import EnvironmentUnusable
from tasks.settings import Settings

MIN_FREE_MB = 300

_QUIET = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "TOKENIZERS_PARALLELISM": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
}


def quiet() -> None:
    """Switch telemetry of every library off, unless the environment already says something."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)


def use_home(config_path: Path | None = None) -> Path:
    """Settle TUNELOOP_HOME for this process and its children.

    Without the variable it is `.tuneloop/` beside the configuration file, or in the working directory.
    """
    quiet()
    if "TUNELOOP_HOME" not in os.environ:
        beside = config_path.resolve().parent if config_path else Path.cwd()
        os.environ["TUNELOOP_HOME"] = str(beside / ".tuneloop")
    home = Settings().root
    os.environ["TUNELOOP_HOME"] = str(home)
    os.environ.setdefault("PREFECT_HOME", str(home / "prefect"))
    return home


def prepare_home(home: Path) -> list[str]:
    """Make the home folder, check that it can be written and has room, end what a killed run left behind.

    Returns the names of the processes that were ended.

    Raises:
        EnvironmentUnusable: no room, no permission, or a file is in the way.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        probe = home / f".probe-{os.getpid()}"
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
    except OSError as error:
        raise _unusable(home, error) from error
    free_mb = shutil.disk_usage(home).free / 1e6
    if free_mb < MIN_FREE_MB:
        raise EnvironmentUnusable(
            "the disk is nearly full",
            where=str(home),
            why=f"{free_mb:.0f} MB are free, {MIN_FREE_MB} MB are needed",
            remedy="free some space, or set TUNELOOP_HOME to a folder on another disk; what was made is kept",
        )
    return end_leftovers(home)


def _unusable(home: Path, error: OSError) -> EnvironmentUnusable:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EnvironmentUnusable(
            "the disk is full",
            where=str(home),
            why=error.strerror or "no space left",
            remedy="free some space, or set TUNELOOP_HOME to a folder on another disk; what was made is kept",
        )
    return EnvironmentUnusable(
        "the home folder cannot be written",
        where=str(home),
        why=error.strerror or type(error).__name__,
        remedy="set TUNELOOP_HOME to a folder that you may write to",
    )
