"""How good are the estimates of time and memory? Ten configurations, each estimated and run to its end.

    python -m bench.estimate [--short] [--only NAME,...] [--steps N] [--seed S] [--net] [--out FILE]

Every configuration is a process of its own. Its calibration takes place between the run's steps, spread over the run,
so that both see the same machine: what another program takes from one it takes from the other. The history is empty.
The run's seconds are those that its record would have, without the calibration's. Each result is added to FILE, and a
configuration that is there already is not run again. `--short` takes a tiny random model: it shows that the harness
works, the figures mean little.

Prints a table and one line of JSON: configurations within 15 % in time and memory, the calibrations' largest shares.
A first pass in a process costs several usual ones, and a training without calibration has its own: with `--net`, two
more processes, one with and one without a calibration's first passes, show the share beyond what the first step is
then spared. The last column is the limit that the machine's noise sets: how often so many of the run's own steps as a
calibration may cost (5 % of them, drawn at random) tell the seconds of all, by their FLOPs, within 15 %.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.adapters.threads import thread_environment

OUT = Path(".bench") / "estimate.json"
STEPS, SHORT_STEPS = 240, 96
WITHIN = 0.15
MOST_SHARE = 0.05  # of the run, for its calibration
DRAWS = 4000
FIRST = ("cold", "warm")  # first steps without and after the first passes of a calibration
PAIRS = {"method": "dpo", "learning_rate": 1e-4}
CASES: dict[str, dict[str, Any]] = {
    "sft-lora-packed": {"adapter": "lora"},
    "sft-qlora-expanded": {"adapter": "qlora", "expand_nf4": "on"},
    "sft-qlora-4bit": {"adapter": "qlora", "expand_nf4": "off"},
    "sft-dora": {"adapter": "dora", "batch_rows": 8, "micro_batch_rows": 8},
    "sft-full": {"adapter": "full", "learning_rate": 1e-5},
    "sft-lora-padded": {"adapter": "lora", "fused_layers": "off", "packing": "off"},
    "sft-micro-batches": {"adapter": "lora", "batch_rows": 8, "micro_batch_rows": 4},
    "sft-long-rows": {"adapter": "lora", "rows": "long", "batch_rows": 4, "micro_batch_rows": 2},
    "sft-recomputed": {"adapter": "lora", "rows": "long", "batch_rows": 4, "micro_batch_rows": 4,
                       "activation_checkpointing": "on"},
    "dpo-lora": {"adapter": "lora", "batch_rows": 8, "micro_batch_rows": 8, **PAIRS},
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a tiny random model")
    parser.add_argument("--only", default="", help="names of configurations")
    parser.add_argument("--steps", type=int, default=0, help="optimiser steps of each run")
    parser.add_argument("--seed", type=int, default=17, help="of the rows and their lengths")
    parser.add_argument("--net", action="store_true", help="measure what the first step is spared, too")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--case", default="", help=argparse.SUPPRESS)
    parser.add_argument("--first", choices=FIRST, default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    steps = options.steps or (SHORT_STEPS if options.short else STEPS)
    if options.case:
        from bench.estimate_run import first_step, run_case

        case = (CASES[options.case], steps, options.short, options.seed)
        print(json.dumps(first_step(*case, warm=options.first == "warm") if options.first else run_case(*case)))
        return
    file = options.out or (OUT.with_stem("estimate-short") if options.short else OUT)
    names = options.only.split(",") if options.only else list(CASES)
    print_results(measure(names, steps, options.short, file, options.seed, net=options.net))


def measure(names: list[str], steps: int, short: bool, file: Path, seed: int, *, net: bool) -> dict[str, Any]:
    """The result of each configuration; those that the file has already are taken from there."""
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    for name in names:
        one = found.get(name, {})
        if "step_flops" not in one:  # older results are measured again
            one = _in_process(name, steps, short, seed)
        if net and "first_step" not in one:
            one["first_step"] = {kind: _in_process(name, steps, short, seed, "--first", kind) for kind in FIRST}
        found[name] = one
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return {name: one for name, one in found.items() if "step_flops" in one}


def _in_process(name: str, steps: int, short: bool, seed: int, *more: str) -> Any:
    print(name, *more, "...", file=sys.stderr, flush=True)
    case = ("--case", name, "--steps", str(steps), "--seed", str(seed), *more)
    command = [sys.executable, "-m", "bench.estimate", *case]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        done = subprocess.run(
            [*command, *(["--short"] if short else [])],
            env={**os.environ, **thread_environment()},
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            check=False,
        )
        if done.returncode:
            said.seek(0)
            raise SystemExit(f"{name} failed:\n{said.read()[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def print_results(found: dict[str, Any]) -> None:
    """The table and the line of JSON."""
    row = "{:<20}{:>10}{:>10}{:>8}{:>12}{:>10}{:>8}{:>12}{:>8}{:>8}"
    head = ("estimated", "actual", "")
    print(row.format("configuration", *head, *head, "calibration", "net", "limit"))
    for name, one in found.items():
        print(row.format(
            name,
            f"{one['estimated_seconds']:.1f} s", f"{one['actual_seconds']:.1f} s", f"{off(one, 'seconds'):+.0%}",
            f"{one['estimated_bytes'] / 1e9:.2f} GB", f"{one['actual_bytes'] / 1e9:.2f} GB",
            f"{off(one, 'bytes'):+.0%}", f"{one['calibration_share']:.1%}",
            f"{net_share(one):.1%}" if "first_step" in one else "-",
            f"{chance_within(one['step_seconds'], one['step_flops']):.0%}",
        ))  # fmt: skip
    nets = [net_share(one) for one in found.values() if "first_step" in one]
    print(json.dumps({
        "time_within_15": sum(abs(off(one, "seconds")) <= WITHIN for one in found.values()),
        "memory_within_15": sum(abs(off(one, "bytes")) <= WITHIN for one in found.values()),
        "configurations": len(found),
        "calibration_share": round(max((one["calibration_share"] for one in found.values()), default=0.0), 4),
        "expected_within_15": round(
            sum(chance_within(one["step_seconds"], one["step_flops"]) for one in found.values()), 1
        ),
        **({"net_calibration_share": round(max(nets), 4)} if nets else {}),
    }))  # fmt: skip


def chance_within(seconds: Sequence[float], sizes: Sequence[float], share: float = MOST_SHARE) -> float:
    """How often this share of the steps, drawn at random, tells the seconds of all by their sizes within 15 %."""
    if not seconds:
        return 0.0
    chance, steps, whole = random.Random(0), list(zip(seconds, sizes, strict=True)), sum(seconds) / sum(sizes)
    drawn = (chance.sample(steps, max(1, round(share * len(steps)))) for _ in range(DRAWS))
    rates = (sum(took for took, _ in some) / sum(size for _, size in some) for some in drawn)
    return sum(abs(rate / whole - 1) <= WITHIN for rate in rates) / DRAWS


def net_share(one: dict[str, Any]) -> float:
    """What the calibration adds to the run, as a share of it: the run's own first step is then spared first passes."""
    spared = one["first_step"]["cold"] - one["first_step"]["warm"]
    return float(one["calibration_share"] - spared / one["actual_seconds"])


def off(one: dict[str, Any], what: str) -> float:
    """How far the estimate was off, as a share of the actual figure."""
    return float(one[f"estimated_{what}"] / one[f"actual_{what}"] - 1)


if __name__ == "__main__":
    main()
