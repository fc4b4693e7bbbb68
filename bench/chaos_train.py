"""Is a training that was killed again and again the same, bit for bit, as one that was not?

    python -m bench.chaos_train [--kills 200] [--short] [--only ours|large|peer] [--folder DIR] [--seed 1]

Kills are real SIGKILLs, at random moments and before every write of a checkpoint, over a pairwise covering set of
configurations on a tiny model with real NF4 weights, over real worker processes, and on SmolLM2-135M. Beside it a bare
TRL script with resume_from_checkpoint is killed in the same way. A kill counts if a checkpoint was complete, the last
step was not done, and the next start logged that it went on from a step after 0.

What is finished stands in DIR/journal.jsonl: the same command goes on there. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tasks.adapters.threads import thread_environment

os.environ.update(thread_environment() | {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"})
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # CUDA does not survive a fork; this is about the CPU path

from bench.chaos_train_journal import Journal
from bench.chaos_train_tasks import Task, all_tasks

_LANES = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--kills", type=int, default=260, help="planned for the tiny model; a few come too late to count"
    )
    parser.add_argument("--short", action="store_true", help="two configurations, few kills, no 135M model, no peer")
    parser.add_argument("--only", choices=["ours", "real", "large", "peer"], default=None)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "tuneloop-chaos-train")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    outcome = chaos(options.folder, options.kills, options.short, options.only, options.seed)
    print(json.dumps(outcome))
    sys.exit(0 if outcome["identical"] == outcome["kills"] and not outcome["failed_tasks"] else 1)


def chaos(folder: Path, kills: int, short: bool, only: str | None, seed: int) -> dict[str, Any]:
    """Do everything that the journal does not hold yet; the last line of the output as a mapping."""
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder / "journal.jsonl", {"kills": kills, "short": short, "seed": seed})
    import_everything()
    tasks = all_tasks(folder, kills, short, only, random.Random(seed))
    failed: dict[str, dict[str, Any]] = {}
    for wave in sorted({task.wave for task in tasks}):
        failed |= run_wave([task for task in tasks if task.wave == wave and task.name not in journal], journal)
    found = {task.name: journal[task.name] if task.name in journal else failed[task.name] for task in tasks}
    report(tasks, found)
    return summary(tasks, found) | {"seconds": round(time.monotonic() - began)}


def import_everything() -> None:
    """What a trainer process imports; nothing is computed, so that no thread is running when processes are forked."""
    import bitsandbytes  # noqa: F401
    import datasets  # noqa: F401
    import trl.trainer.sft_trainer  # noqa: F401

    import tasks.train.adapter
    import tasks.train.data
    import tasks.train.methods
    import tasks.train.trainer
    import tasks.train.worker  # noqa: F401


def run_wave(tasks: list[Task], journal: Journal) -> dict[str, dict[str, Any]]:
    """Run tasks two at a time, each in a process with a core of its own; what is finished goes into the journal.

    Returns those that failed: they are not noted, so that the next start tries them again.
    """
    waiting, running = list(tasks), {}
    failed: dict[str, dict[str, Any]] = {}
    cores = sorted(os.sched_getaffinity(0))
    lanes = list(range(min(_LANES, len(cores))))
    while waiting or running:
        while waiting and lanes and not (waiting[0].alone and running):
            task, lane = waiting.pop(0), lanes.pop()
            own = set(cores) if task.alone else {cores[lane]}
            running[task.start(own, journal.results)] = (task, lane)
            if task.alone:
                break
        child, status = os.wait()
        task, lane = running.pop(child)
        lanes.append(lane)
        if os.waitstatus_to_exitcode(status) != 0:
            failed[task.name] = {"failed": task.log()}
            print(f"{task.name}: FAILED\n{task.log()}", flush=True)
            continue
        journal.add(task.name, task.outcome())
        print(f"{task.name}: {_told(journal[task.name])}", flush=True)
    return failed


def _told(outcome: dict[str, Any]) -> str:
    if "kills" not in outcome:
        return f"uninterrupted, {outcome['seconds']:.1f} s"
    same = sum(kill["identical"] for kill in outcome["kills"])
    return f"{len(outcome['kills'])} kills, {same} identical"


def report(tasks: list[Task], found: dict[str, dict[str, Any]]) -> None:
    """A table of kinds of kills, and the checks beside the counts."""
    for side, peer in (("tuneloop", False), ("TRL", True)):
        kills = [k for t in tasks if t.peer is peer for k in found[t.name].get("kills", ())]
        kinds, same = Counter(k["kind"] for k in kills), Counter(k["kind"] for k in kills if k["identical"])
        for kind in sorted(kinds):
            print(f"{side:<10}{kind:<12}{kinds[kind]:>5} kills{same[kind]:>6} identical")
    ours = [kill for task in tasks if not task.peer for kill in found[task.name].get("kills", ())]
    boundaries = {kill["number"] for kill in ours if kill["kind"] == "boundary"}
    most = max((found[t.name].get("boundaries", 0) for t in tasks if not t.peer), default=0)
    print(f"write boundaries of a save: {most}; hit: {len(boundaries & set(range(1, most + 1)))}")


def summary(tasks: list[Task], found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    ours = [kill for task in tasks if not task.peer for kill in found[task.name].get("kills", ())]
    peer = [kill for task in tasks if task.peer for kill in found[task.name].get("kills", ())]
    whole = [task for task in tasks if task.kind == "reference" and not task.peer]
    references = [(task.case, found[task.name]) for task in whole if "failed" not in found[task.name]]
    seeds: dict[str, set[str]] = {}
    for case, outcome in references:
        seeds.setdefault(case, set()).add(outcome["adapter"])
    return {
        "bench": "chaos_train",
        "kills": len(ours),
        "identical": sum(kill["identical"] for kill in ours),
        "peer_kills": len(peer),
        "peer_identical": sum(kill["identical"] for kill in peer),
        "kills_135m": sum(len(found[t.name].get("kills", ())) for t in tasks if t.case == "135m"),
        "failed_tasks": sorted(name for name, outcome in found.items() if "failed" in outcome),
        "adapters_learned": all(outcome["learned"] for _, outcome in references),
        "seeds_differ": all(len(adapters) == 2 for case, adapters in seeds.items() if case != "135m"),
    }


if __name__ == "__main__":
    main()
