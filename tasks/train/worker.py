"""The trainer process: `python -m tasks.train.worker JOB.json`. Runs where Prefect is absent.

Sends events: progress, checkpoint, resumed, decisions, and error with a coded error before it ends badly. SIGTERM makes
it write a checkpoint and end with 143; the same job in the same folder then goes on from there.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from tasks.adapters.processes import die_with_parent, emit
from tasks.adapters.store import write_atomically
from tasks.adapters.threads import physical_cores
from tasks.contracts import LossPoint, Record
from tasks.errors import TrainingFailed, TuneloopError
from tasks.train.plan import Decisions, Job, Machine, decide, plan_steps

if TYPE_CHECKING:
    from tasks.train.run import Run

RESULT = "training.json"
STOPPED = 128 + signal.SIGTERM
_LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes")


class Result(Record):
    """What a finished training leaves beside its adapter."""

    adapter_digest: str
    steps: int
    rows_seen: int
    rows_available: int
    tokens: int
    seconds: float
    interruptions: int
    curve: tuple[LossPoint, ...]
    decisions: dict[str, str]
    template: str
    versions: dict[str, str]


def main(arguments: Sequence[str]) -> int:
    """Train; the exit code is 0, 143 after SIGTERM, or that of the coded error."""
    die_with_parent()
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stop.append(number))
    job = Job.model_validate_json(Path(arguments[0]).read_text(encoding="utf-8"))
    try:
        finished = run_job(job, lambda: bool(stop))
    except TuneloopError as error:
        emit(
            {
                "event": "error",
                "code": error.code,
                "what": error.what,
                **dict(error.details()[:2]),
                "remedy": error.remedy,
            }
        )
        return error.exit_code
    return 0 if finished else STOPPED


def run_job(job: Job, stop_asked: Any) -> bool:
    """Do the job from wherever it stands; whether it came to its end."""
    starts = _count_start(job.work / "checkpoints" / "starts.json")
    from tasks.tokens import load_tokenizer, template_note
    from tasks.train.adapter import build, write
    from tasks.train.checkpoint import remove_all
    from tasks.train.data import chosen_rows, read_rows
    from tasks.train.methods import objective_of
    from tasks.train.run import Run
    from tasks.train.trainer import train

    tokenizer = load_tokenizer(Path(job.base.path))
    rows = read_rows(job.rows)
    objective = objective_of(job.config, _max_tokens(job), tokenizer.pad_token_id or 0)
    examples = objective.examples(tokenizer, chosen_rows(rows, job.config))
    steps = plan_steps([objective.tokens(e) for e in examples], job.config)
    run = Run(job=job, objective=objective, examples=examples, steps=steps, say=emit, stop_asked=stop_asked)
    decisions = _decisions(run)
    emit({"event": "decisions", "decisions": decisions.texts()})
    model = build(job, decisions)
    train(run, model, tokenizer)
    if not run.finished:
        return False
    result = Result(
        adapter_digest=write(model, job),
        steps=run.step,
        rows_seen=len(examples),
        rows_available=len(rows),
        tokens=run.tokens,
        seconds=run.seconds,
        interruptions=starts - 1,
        curve=tuple(run.curve),
        decisions=decisions.texts() | {"chat_template": template_note(tokenizer, Path(job.base.path))},
        template=tokenizer.chat_template,
        versions={name: importlib.metadata.version(name) for name in _LIBRARIES},
    )
    write_atomically(job.work / RESULT, result.model_dump_json(indent=1))
    remove_all(run.checkpoints)
    return True


def _count_start(note: Path) -> int:
    starts = json.loads(note.read_text(encoding="utf-8")) + 1 if note.is_file() else 1
    write_atomically(note, json.dumps(starts))
    return int(starts)


def _max_tokens(job: Job) -> int:
    config = json.loads((Path(job.base.path) / "config.json").read_text(encoding="utf-8"))
    return int(config.get("max_position_embeddings", sys.maxsize))


def _decisions(run: Run) -> Decisions:
    """The decisions of this training: taken once, then read back by every later start."""
    note = run.checkpoints / "decisions.json"
    if note.is_file():
        return Decisions.model_validate_json(note.read_text(encoding="utf-8"))
    tokens = sum(run.objective.tokens(run.examples[row]) for step in run.steps for micro in step for row in micro)
    decisions = decide(run.job.config, run.job.base.parameters, tokens, _machine())
    if decisions.compile.value == "on" and not _machine().compiler and not _machine().cuda:
        raise TrainingFailed(
            "compilation was asked for and is not possible here",
            where="train.compile",
            why="no C++ compiler is installed",
            remedy="install g++, or set train.compile to auto or off",
        )
    write_atomically(note, decisions.model_dump_json())
    return decisions


def _machine() -> Machine:
    import torch

    cuda = torch.cuda.is_available()
    return Machine(
        cuda=cuda,
        free_bytes=torch.cuda.mem_get_info()[0] if cuda else psutil.virtual_memory().available,
        compiler=bool(shutil.which(os.environ.get("CXX", "g++"))),
        cores=physical_cores(),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
