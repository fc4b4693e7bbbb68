"""Run a module as `python -m` does, garbage collected rarely: programs of thousands of modules start sooner.

python -m deployments.services.quickly MODULE [ARGUMENT...]
"""

from __future__ import annotations

import runpy
import sys

from tasks.adapters.cycles import collect_rarely


def quickly(module: str) -> tuple[str, ...]:
    """The beginning of a command that runs a module so."""
    return sys.executable, "-m", "deployments.services.quickly", module


def main() -> None:
    """Become MODULE; its arguments are its own."""
    collect_rarely()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
