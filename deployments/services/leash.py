"""Run a command that gets SIGTERM from the kernel as soon as the process that started it ends, however it ends.

python -m deployments.services.leash PARENT_PID COMMAND [ARGUMENT...]

For programs that are not ours and know nothing of a leash (uvicorn with Prefect or MLflow in it). The process id
stays the same: this module sets the death signal and becomes the command.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2); survives execve


def main() -> None:
    """Tie this process to PARENT_PID, then replace it by COMMAND."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it ended before the signal was set
        raise SystemExit(128 + signal.SIGTERM)
    os.execvp(command[0], command)  # noqa: S606 - becoming the command is the point


if __name__ == "__main__":
    main()
