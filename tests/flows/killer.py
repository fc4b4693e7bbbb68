"""`python -m tests.flows.killer STAGE:MOMENT ARGUMENTS...`: runs the `tuneloop` command and kills it with SIGKILL.

MOMENT is `started`, `running` (half a second in), `finished`, or a text that the stage says about itself, e.g.
`register:version created`. What is killed is the whole process, at once, as by a power cut; nothing is patched.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from tasks.progress import Progress, listening

HALF_WAY_SECONDS = 0.5


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_progress(stage: str, moment: str):
    def listen(progress: Progress) -> None:
        if progress.stage != stage:
            return
        if moment in (progress.state, progress.text) and moment != "running":
            die()
        if moment == "running" and progress.state == "started":
            timer = threading.Timer(HALF_WAY_SECONDS, die)
            timer.daemon = True
            timer.start()

    return listen


def main() -> None:
    where, *arguments = sys.argv[1:]
    sys.argv = ["tuneloop", *arguments]
    from deployments.cli import main as tuneloop

    stage, _, moment = where.partition(":")
    with listening(at_progress(stage, moment)):
        tuneloop()


if __name__ == "__main__":
    main()
