"""How many failures of a training repair themselves: each repairable class is provoked several times.

    python -m bench.repairs [--times 4] [--short] [--only oom-host,nan]

A repair counts when the training came to its last step after at most two repairs, with what was changed in its record.
Killed and crashed trainers and those without memory are processes of their own; the others run in this process.
Losses explode for real, by settings that diverge. GPU memory, NCCL, the network, evictions and OOMKilled are told as
libraries and Kubernetes tell them (`told` in the table): there the failure is not real, the repair and the training
after it are. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tasks.errors import TuneloopError
from tasks.train.attempts import Launch, LocalLaunch, OnEvent
from tasks.train.failures import Evidence, PodEnd
from tasks.train.plan import Job
from tasks.train.supervise import limits_of, supervise
from tests.tasks.train.preference_rows import make_preference_job
from tests.tasks.train.provocations import InProcess, limit_memory, trainers, write_long_rows
from tests.tasks.train.training_rows import make_job
from tests.tiny_model import make_tiny_model

REPAIRS, TARGET = 2, 0.95
_DIVERGES = {"learning_rate": 0.1, "epochs": 5.0}


class Trial(NamedTuple):
    """One provocation: a job, how it is started, and what happens to it meanwhile."""

    job: Job
    launch: Launch
    listen: OnEvent


Provoke = Callable[[Path, Path, int], Trial]


class Outcome(NamedTuple):
    """How a trial ended."""

    codes: list[str]
    finished: bool
    repairs: tuple[str, ...]
    seconds: float


class Told:
    """A first start that ends as told, before it began; then the real trainer."""

    def __init__(self, *endings: Evidence) -> None:
        self._endings, self._train = list(endings), InProcess()

    def __call__(self, job: Job, seconds: float, on_event: OnEvent) -> Evidence:
        return self._endings.pop(0) if self._endings else self._train(job, seconds, on_event)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=4, help="provocations of each class")
    parser.add_argument("--short", action="store_true", help="each class once")
    parser.add_argument("--only", default="", help="classes, with commas between them")
    options = parser.parse_args()
    chosen = options.only.split(",") if options.only else list(CLASSES)
    with tempfile.TemporaryDirectory(prefix="tuneloop-repairs-") as folder:
        found = measure(Path(folder), chosen, 1 if options.short else options.times)
    print_table(found)
    print(json.dumps(in_short(found)))
    sys.exit(0 if in_short(found)["share"] >= TARGET else 1)


def measure(folder: Path, names: list[str], times: int) -> dict[str, list[Outcome]]:
    """Provoke each class so many times."""
    os.environ["TUNELOOP_HOME"] = str(folder / "home")
    model = make_tiny_model(folder / "model")
    found: dict[str, list[Outcome]] = {}
    for name in names:
        for number in range(times):
            place = folder / f"{name}-{number}"
            found.setdefault(name, []).append(_try(CLASSES[name][1](place, model, number)))
            print(f"{name} {number + 1}: {found[name][-1]}", file=sys.stderr, flush=True)
    return found


def _try(trial: Trial) -> Outcome:
    codes: list[str] = []
    began = time.monotonic()

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "failure":
            codes.append(event["code"])
        trial.listen(event)

    try:
        # what the trainer prints in this process is not the result of this program
        with contextlib.redirect_stdout(sys.stderr):
            result = supervise(trial.job, trial.launch, listen, limits_of(trial.job))
    except TuneloopError as error:
        return Outcome([*codes, error.code], False, (), time.monotonic() - began)
    return Outcome(codes, True, result.repairs, time.monotonic() - began)


def repaired(outcome: Outcome) -> bool:
    """Whether it came to its end after one or two repairs that its record tells of."""
    return outcome.finished and 1 <= len(outcome.codes) <= REPAIRS and len(outcome.repairs) == len(outcome.codes)


def provoked(outcomes: list[Outcome]) -> list[Outcome]:
    """Those in which something went wrong at all."""
    return [outcome for outcome in outcomes if outcome.codes]


# --- provocations


def _ignore(_event: dict[str, Any]) -> None:
    """Nothing happens to this trainer."""


def _host_memory(folder: Path, model: Path, number: int) -> Trial:
    batches: dict[str, Any] = {"batch_rows": 16, "micro_batch_rows": 16, "epochs": 1.0, "checkpoint_steps": 1}
    job = make_job(folder, model, precision="fp32", seed=number, **batches)  # the same need on every processor
    write_long_rows(job.rows, 32, 100)
    return Trial(job, LocalLaunch(folder / "home", folder / "log"), limit_memory(260))


def _nan(folder: Path, model: Path, number: int) -> Trial:
    chosen: dict[str, Any] = _DIVERGES | {"weight_decay": 150.0 + 5 * number, "adapter": "lora", "seed": number}
    return Trial(make_job(folder, model, **chosen), InProcess(), _ignore)


def _spike(folder: Path, model: Path, number: int) -> Trial:
    job = make_preference_job(folder, model, beta=20.0, alpha=512, seed=number, **_DIVERGES)
    return Trial(job, InProcess(), _ignore)


def _signalled(kind: signal.Signals) -> Provoke:
    def provoke(folder: Path, model: Path, number: int) -> Trial:
        job = make_job(folder, model, epochs=4.0, seed=number)
        at, done = 1 + 2 * number % 9, list[int]()

        def end_once(event: dict[str, Any]) -> None:
            if event["event"] == "progress" and event["step"] >= at and not done:
                done.append(1)
                os.kill(trainers()[0].pid, kind)

        return Trial(job, LocalLaunch(folder / "home", folder / "log"), end_once)

    return provoke


def _told(*endings: Evidence) -> Provoke:
    def provoke(folder: Path, model: Path, number: int) -> Trial:
        return Trial(make_job(folder, model, seed=number), Told(endings[number % len(endings)]), _ignore)

    return provoke


def _last_line(*texts: str) -> list[Evidence]:
    return [Evidence(exit_code=1, log_tail=(text,)) for text in texts]


def _pods(*pods: PodEnd) -> list[Evidence]:
    return [Evidence(exit_code=137, pods=(pod,)) for pod in pods]


CLASSES: dict[str, tuple[str, Provoke]] = {
    "oom-host": ("real: limit of its memory", _host_memory),
    "nan": ("real: settings that diverge", _nan),
    "spike": ("real: settings that diverge", _spike),
    "killed": ("real: SIGKILL", _signalled(signal.SIGKILL)),
    "crash": ("real: SIGSEGV", _signalled(signal.SIGSEGV)),
    "oom-gpu": ("told", _told(*_last_line(
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79 GiB",
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))),
    "nccl": ("told", _told(*_last_line(
        "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:2251, remote process exited",
        "RuntimeError: [../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:51234"))),
    "network": ("told", _told(*_last_line(
        "huggingface_hub.errors.LocalEntryNotFoundError: An error happened while trying to locate the file on the Hub",
        "botocore.exceptions.EndpointConnectionError: Could not connect to the endpoint URL"))),
    "oom-killed": ("told", _told(*_pods(PodEnd(reason="OOMKilled", exit_code=137)))),
    "evicted": ("told", _told(*_pods(
        PodEnd(reason="Evicted", message="The node was low on resource: ephemeral-storage."),
        PodEnd(reason="Preempting"), PodEnd(reason="Terminated", message="imminent node shutdown")))),
}  # fmt: skip


# --- results


def print_table(found: dict[str, list[Outcome]]) -> None:
    print(f"{'class':<12} {'provoked by':<28} {'times':>5} {'repaired':>8}  what was changed")
    for name, outcomes in found.items():
        good = sum(map(repaired, outcomes))
        change = next((o.repairs[-1].partition("; ")[2] for o in outcomes if o.repairs), "")
        print(f"{name:<12} {CLASSES[name][0]:<28} {len(provoked(outcomes)):>5} {good:>8}  {change}")


def in_short(found: dict[str, list[Outcome]]) -> dict[str, Any]:
    """All classes in numbers."""
    outcomes = [outcome for each in found.values() for outcome in provoked(each)]
    good = sum(map(repaired, outcomes))
    return {
        "provoked": len(outcomes),
        "repaired_within_two": good,
        "share": round(good / max(len(outcomes), 1), 4),
        "target": TARGET,
        "classes": {name: [len(provoked(each)), sum(map(repaired, each))] for name, each in found.items()},
    }


if __name__ == "__main__":
    main()
