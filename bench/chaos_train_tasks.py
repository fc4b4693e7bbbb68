"""The pieces of `make chaos-train`: uninterrupted trainings first, then killed ones; each in a process of its own."""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import chaos_train_peer as peer
from bench.chaos_train_attempts import Ending, Kill, kind_of, plans, read_events, wait_for
from bench.chaos_train_cases import COMMON, Case, Values, covering, possible, write_job
from bench.chaos_train_trial import Outcome, complete, our_attempt, reference, trial

_SHORT_KILLS = 20
_KILLS_OF_COMPILED = 8  # each start compiles again, from a warm cache
_REAL_KILLS, _LARGE_KILLS, _PEER_KILLS = 12, 20, 52
_LARGE: Values = COMMON | {
    "rank": 8,
    "alpha": 16,
    "max_rows": 12,
    "epochs": 4.0,
    "micro_batch_rows": 2,
    "compile": "off",
}
Body = Callable[[dict[str, Outcome]], Outcome]


@dataclass
class Task:
    """One piece of work. It is given what the tasks before it found."""

    name: str
    case: str
    kind: str
    wave: int
    folder: Path
    body: Body
    peer: bool = False
    alone: bool = False

    def start(self, cores: set[int], before: dict[str, Outcome]) -> int:
        """Run it in a process of its own on these cores; returns the process id."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        sys.stdout.flush()
        child = os.fork()
        if child:
            return child
        try:
            os.sched_setaffinity(0, cores)
            os.environ["OMP_NUM_THREADS"] = str(len(cores))
            os.environ["TUNELOOP_HOME"] = str(self.folder / "home")
            (self.folder / "outcome.json").write_text(json.dumps(self.body(before)), encoding="utf-8")
            os._exit(0)
        except BaseException:
            (self.folder / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
            os._exit(1)

    def outcome(self) -> Outcome:
        return dict(json.loads((self.folder / "outcome.json").read_text(encoding="utf-8")))

    def log(self) -> str:
        return (self.folder / "error.txt").read_text(encoding="utf-8")


def all_tasks(folder: Path, kills: int, short: bool, only: str | None, chance: random.Random) -> list[Task]:
    """Every task of a run. The tiny model is made by a process of its own: this one must not compute."""
    model = _tiny_model(folder)
    cases, left_out = covering(functools.partial(possible, model=model), chance.randrange(100))
    for text in left_out:
        print(f"left out: {text}")
    print("covering set: " + ", ".join(case.name for case in cases), flush=True)
    cases = _short(cases) if short else cases
    found: list[Task] = []
    if only in (None, "ours"):
        found += our_tasks(folder, model, cases, _SHORT_KILLS if short else kills, chance)
    if not short and only in (None, "real"):
        found += real_tasks(folder, model, chance)
    if not short and only in (None, "large"):
        found += large_tasks(folder, chance)
    if not short and only in (None, "peer"):
        found += peer_tasks(folder, model, chance)
    return found


def _short(cases: list[Case]) -> list[Case]:
    """One case with real NF4 weights in one process, and one in two."""
    eager = [case for case in cases if not case.compiled]
    one = [case for case in eager if "qlora" in case.choice and case.processes == 1]
    two = [case for case in eager if case.processes == 2]
    return [replace(case, epochs=2.0) for case in one[:1] + two[:1]]


def _tiny_model(folder: Path) -> Path:
    model = folder / "tiny"
    if not (model / "config.json").is_file():
        code = (
            f"from tests.tiny_model import make_tiny_model; make_tiny_model(__import__('pathlib').Path({str(model)!r}))"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
    return model


def our_tasks(folder: Path, model: Path, cases: list[Case], kills: int, chance: random.Random) -> Iterator[Task]:
    """For each case two uninterrupted trainings with other seeds, and killed ones."""
    eager = [case for case in cases if not case.compiled]
    each = -(-(kills - _KILLS_OF_COMPILED * (len(cases) - len(eager))) // len(eager))
    first = 0
    for case in cases:
        for seed in (17, 18):
            body = functools.partial(
                _reference, folder / f"{case.name}-{seed}", model, case.values(), seed, case.processes
            )
            yield Task(f"{case.name} seed {seed}", case.name, "reference", 0, folder / f"{case.name}-{seed}", body)
        left = _KILLS_OF_COMPILED if case.compiled else each
        for part, count in enumerate([10] * (left // 10) + [left % 10] * (left % 10 > 0)):
            own = folder / f"{case.name}-kills-{part}"
            body = functools.partial(_killed, own, model, case, count, chance.randrange(10**6), first)
            yield Task(f"{case.name} kills {part}", case.name, "killed", 1, own, body)
            first += sum(kind_of(number) == "boundary" for number in range(count))


def _reference(own: Path, model: Path, values: Values, seed: int, processes: int, _: dict[str, Outcome]) -> Outcome:
    return reference(write_job(own / "whole", model, values, seed), our_attempt(processes, 0.0))


def _killed(
    own: Path, model: Path, case: Case, count: int, seed: int, first: int, before: dict[str, Outcome]
) -> Outcome:
    expected = before[f"{case.name} seed 17"]
    kills = plans(count, expected["boundaries"], expected["start_writes"], case.processes, random.Random(seed), first)
    make = lambda number: write_job(own / f"training-{number}", model, case.values())  # noqa: E731
    return trial(make, kills, expected, our_attempt(case.processes, expected["seconds"]))


def real_tasks(folder: Path, model: Path, chance: random.Random) -> Iterator[Task]:
    """Kills of `python -m tasks.train.worker`, as the product starts it."""
    case = Case(("sft", "qlora", "padded", "2x", "dropout", "eager", "one", "unseen"))
    values = case.values() | {"packing": "off", "epochs": 40.0}
    own = folder / "real"
    whole = functools.partial(_reference, folder / "real-17", model, values, 17, 1)
    yield Task("real seed 17", "real", "real-reference", 0, folder / "real-17", whole)
    waits = [chance.uniform(0, 0.5) for _ in range(_REAL_KILLS)]

    def body(before: dict[str, Outcome]) -> Outcome:
        expected = before["real seed 17"]
        make = lambda number: write_job(own / f"training-{number}", model, values)  # noqa: E731
        return trial(make, [Kill("random", wait=w) for w in waits], expected, _real_attempt)

    yield Task("real kills", "real", "killed", 1, own, body)


def _real_attempt(job: Path, kill: Kill | None) -> Ending:
    """One start of the real process; killed at a random moment (in seconds) after its own first checkpoint."""
    log, before = job.parent / "attempt.log", complete(job)
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "tasks.train.worker", str(job)],
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    process.returncode = wait_for([process.pid], kill, lambda: complete(job)[-1:] != before[-1:], 1.0)
    return Ending(process.returncode, read_events(log))


def large_tasks(folder: Path, chance: random.Random) -> Iterator[Task]:
    """Kills on SmolLM2-135M with NF4 weights."""
    from tasks.adapters.built_in_models import built_in_folder

    model, own = built_in_folder("smollm2-135m"), folder / "135m"
    values = _LARGE | {"adapter": "qlora", "expand_nf4": "on", "dropout": 0.0}
    whole = functools.partial(_reference, folder / "135m-17", model, values, 17, 1)
    yield Task("135m seed 17", "135m", "reference", 2, folder / "135m-17", whole, alone=True)
    seed = chance.randrange(10**6)

    def body(before: dict[str, Outcome]) -> Outcome:
        expected = before["135m seed 17"]
        kills = plans(_LARGE_KILLS, expected["boundaries"], expected["start_writes"], 1, random.Random(seed), 7)
        make = lambda number: write_job(own / f"training-{number}", model, values)  # noqa: E731
        return trial(make, kills, expected, our_attempt(1, expected["seconds"]))

    yield Task("135m kills", "135m", "killed", 3, own, body, alone=True)


def peer_tasks(folder: Path, model: Path, chance: random.Random) -> Iterator[Task]:
    """Kills of a bare TRL script."""
    for name, options in peer.CASES.items():
        whole = folder / f"trl-{name}"
        body = functools.partial(_peer_reference, whole, model, options)
        yield Task(f"trl {name}", name, "reference", 0, whole, body, peer=True)
        own, seed = folder / f"trl-{name}-kills", chance.randrange(10**6)
        killed = functools.partial(_peer_killed, own, model, name, seed)
        yield Task(f"trl {name} kills", name, "killed", 1, own, killed, peer=True)


def _peer_reference(own: Path, model: Path, options: dict[str, Any], _: dict[str, Outcome]) -> Outcome:
    import time

    job, began = peer.write_data(own / "whole", model), time.monotonic()
    ending = peer.attempt(job, None, options, 0.0)
    if ending.code != 0:
        raise SystemExit((own / "whole" / "attempt.log").read_text()[-3000:])
    counts = [e["writes"] for e in ending.events if e["event"] == "boundaries"]
    again = peer.write_data(own / "again", model)
    peer.attempt(again, None, options, 0.0)
    found = peer.result(job)
    if found != peer.result(again):
        raise SystemExit("the peer does not repeat itself without kills: nothing can be compared")
    return found | {"seconds": (time.monotonic() - began) / 2, "boundaries": max(counts[1:], default=1)}


def _peer_killed(own: Path, model: Path, name: str, seed: int, before: dict[str, Outcome]) -> Outcome:
    expected = before[f"trl {name}"]
    count = _PEER_KILLS // len(peer.CASES)
    kills = [k for k in plans(2 * count, expected["boundaries"], 1, 1, random.Random(seed), 0) if k.kind != "start"]
    make = lambda number: peer.write_data(own / f"training-{number}", model)  # noqa: E731
    return peer.trial(make, kills[:count], expected, peer.CASES[name])
