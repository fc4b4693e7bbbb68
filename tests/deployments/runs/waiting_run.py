"""`python waiting_run.py HOME`: a run in a process of its own that works until it is ended, as `tuneloop run` would."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from prefect import flow

from deployments.in_process import run_flow
from tasks.progress import stop_if_interrupted


@flow(name="waiting", flow_run_name="waiting run")
def waiting() -> None:
    """Wait, ready to end."""
    print("waiting", flush=True)
    while True:
        stop_if_interrupted()
        time.sleep(0.05)


def main() -> int:
    try:
        run_flow(Path(sys.argv[1]), "waiting_run", "waiting")
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
