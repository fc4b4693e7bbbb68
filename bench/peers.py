"""Runs peers in virtual environments of their own, so that none of their requirements meets ours.

    python -m bench.peers            makes all environments

Environments lie in TUNELOOP_BENCH_CACHE (default ~/.cache/tuneloop-bench), one for each list of requirements. What
is run in them are the modules of `bench/peer_scripts`; each takes one JSON object as its argument and ends with one
line of JSON on standard output. They measure the work only: not the start of Python, not imports.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

REQUIREMENTS = {
    "datatrove": ("datatrove[processing]==0.10.1", "orjson", "spacy>=3.8,<4"),
    "text-dedup": ("text-dedup==0.4.0",),
    "litgpt": ("litgpt==0.5.13", "torch==2.13.0", "numpy>=2"),
    "engines": (
        "daft==0.7.26",
        "polars==2.1.0",
        "rensa==0.5.0",
        "numpy>=2",
        "pydantic>=2.12,<3",
        "pydantic-settings>=2.10",
    ),
}
ROOT = Path(__file__).resolve().parents[1]
_READY = "ready"
_TAIL = 2000


def main() -> None:
    for peer in REQUIREMENTS:
        print(f"{peer}: {python_of(peer)}")


def python_of(peer: str) -> Path:
    """The interpreter of a peer's environment, which is made on the first call."""
    wanted = REQUIREMENTS[peer]
    digest = hashlib.sha256("\n".join((sys.version, *wanted)).encode()).hexdigest()[:12]
    folder = _cache() / f"{peer}-{digest}"
    python = folder / "bin" / "python"
    if not (folder / _READY).exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True)
        (folder / _READY).touch()
    return python


def run(peer: str, script: str, **arguments: Any) -> dict[str, Any]:
    """Run `bench/peer_scripts/<script>.py` in the peer's environment and return what it says in its last line.

    Raises:
        RuntimeError: it failed; with the end of what it wrote.
    """
    command = [str(python_of(peer)), "-m", f"bench.peer_scripts.{script}", json.dumps(arguments)]
    done = subprocess.run(command, cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{script} in the environment of {peer} failed:\n{done.stderr[-_TAIL:]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def _environment() -> dict[str, str]:
    """One thread for each worker process, as ours have; nothing is fetched or reported."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **threads, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "true", "PYTHONUNBUFFERED": "1"}


def _cache() -> Path:
    return Path(os.environ.get("TUNELOOP_BENCH_CACHE", "~/.cache/tuneloop-bench")).expanduser()


if __name__ == "__main__":
    main()
