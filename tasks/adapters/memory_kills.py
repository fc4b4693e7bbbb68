"""How many processes the kernel has ended for lack of memory, where this process and its children live."""

from __future__ import annotations

from pathlib import Path

_CGROUPS, _OWN, _MACHINE = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"), Path("/proc/vmstat")


def oom_kills(cgroups: Path = _CGROUPS, own: Path = _OWN, machine: Path = _MACHINE) -> int:
    """Kills so far: of our own cgroup (version 2, then 1) where it counts them, else of the whole machine.

    Only the difference of two calls means something.
    """
    for line in _lines(own):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            count = _count(cgroups / path.lstrip("/") / "memory.events")
        elif "memory" in controllers.split(","):
            count = _count(cgroups / "memory" / path.lstrip("/") / "memory.oom_control")
        else:
            continue
        if count is not None:
            return count
    return _count(machine) or 0


def _count(file: Path) -> int | None:
    """The value of `oom_kill` in a file of names and numbers."""
    for line in _lines(file):
        name, _, number = line.partition(" ")
        if name == "oom_kill":
            return int(number)
    return None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
