"""What the environment of our workers does to memory and speed of a training: `tasks/adapters/threads.py`.

    python -m bench.worker_memory [--micros 64] [--pairs 3]

Both sides run the same micro-batches of ever new sizes forward and backward, each in a process of its own, in turns.
One has the defaults of torch, oneDNN and glibc, the other what workers get; threads wait in the same way on both.

Prints a line for each process and one of JSON: our highest memory and our time over those of the defaults.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.train_turns import WAITING, spread
from tasks.adapters.threads import thread_environment

ROWS, BATCH = 4, 16
SIDES = ("defaults", "workers")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--micros", type=int, default=64, help="micro-batches of each process")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.micros)))
        return
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for number in range(options.pairs):
        for side in SIDES if number % 2 else reversed(SIDES):
            found[side].append(_in_process(side, options.micros))
            print(side, json.dumps(found[side][-1]), flush=True)
    print(json.dumps({f"{what}_ratio": spread(_ratios(found, what)) for what in ("peak_bytes", "seconds")}))


def _ratios(found: dict[str, list[dict[str, float]]], what: str) -> list[float]:
    return [ours[what] / theirs[what] for ours, theirs in zip(found["workers"], found["defaults"], strict=True)]


def _in_process(side: str, micros: int) -> dict[str, float]:
    chosen = thread_environment()
    set_here = chosen if side == "workers" else {name: chosen[name] for name in WAITING}
    bare = {name: value for name, value in os.environ.items() if name not in chosen}
    command = [sys.executable, "-m", "bench.worker_memory", "--one", "--micros", str(micros)]
    done = subprocess.run(command, env=bare | set_here, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def one(micros: int) -> dict[str, float]:
    """Highest memory, and seconds, of a process that runs so many micro-batches."""
    from bench.estimate_run import SHORT, Case, base_of, examples_of, recipe_of
    from tasks.adapters.devices import peak_bytes, reset_peak

    recipe = recipe_of({"adapter": "lora", "micro_batch_rows": ROWS, "batch_rows": BATCH})
    with tempfile.TemporaryDirectory(prefix="tuneloop-bench-") as name:
        folder = Path(name)
        examples = examples_of(micros * ROWS, SHORT, False, 40_000, seed=17)
        case: Any = Case(base_of(folder, False), recipe, examples, folder)
        case.model.train()
        reset_peak()
        began = time.perf_counter()
        for step in case.run.steps:
            for rows in step:
                batch = case.run.objective.batch([examples[row] for row in rows])
                case.run.objective.loss(case.model, batch).backward()
            case.model.zero_grad()
        return {"peak_bytes": peak_bytes(), "seconds": round(time.perf_counter() - began, 2)}


if __name__ == "__main__":
    main()
