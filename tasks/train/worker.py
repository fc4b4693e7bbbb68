"""The trainer process: `python -m tasks.train.worker JOB.json`. Runs where Prefect is absent.

Sends events: progress, checkpoint, resumed, decisions, and error with a coded error before it ends badly. SIGTERM makes
it write a checkpoint and end with 143; the same job in the same folder then goes on from there.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from pydantic import Field

from tasks.adapters.cycles import collect_as_usual, collect_rarely
from tasks.adapters.model_settings import context_tokens
from tasks.adapters.processes import die_with_parent, emit
from tasks.adapters.store import write_atomically
from tasks.adapters.threads import physical_cores
from tasks.contracts import Digest, Forecast, LossPoint, Record, ValidationPoint
from tasks.digest import digest_file
from tasks.errors import TrainingFailed, TuneloopError
from tasks.train.amendments import amended_decisions, amended_micro_batch, amended_steps
from tasks.train.automatic import examples_of_a_row
from tasks.train.checkpoint import DECISIONS
from tasks.train.checkpoint_files import sync
from tasks.train.engines.choose import Choice, decided_from, settled
from tasks.train.engines.ranks import chosen, enter, join, leave
from tasks.train.events import report_elsewhere
from tasks.train.failure_report import failure_of, safe_traceback
from tasks.train.failures import CRASH, NCCL
from tasks.train.plan import FLASH_PACKAGE, Decisions, Job, Machine, decide, largest_micro_batch, plan_steps
from tasks.train.repair_log import read_log
from tasks.train.shape import read_shape
from tasks.train.share import Share

if TYPE_CHECKING:
    from tasks.train.run import Run

RESULT = "training.json"
STOPPED = 128 + signal.SIGTERM
_LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes")


class Result(Record):
    """What a finished training leaves beside its adapter."""

    adapter_digest: str
    key: Digest = Field("", description="The training that it is the result of.")
    files: dict[str, Digest] = Field(default_factory=dict, description="File of the adapter → its SHA-256.")
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
    history: tuple[str, ...] = ()
    validation: tuple[ValidationPoint, ...] = ()
    validation_rows: int = 0
    best_step: int | None = None
    repairs: tuple[str, ...] = Field((), description="What repairs changed, in words.")
    measures: dict[str, float] = Field(default_factory=dict)
    estimate: Forecast | None = None
    peak_memory_bytes: int = 0


def main(arguments: Sequence[str]) -> int:
    """Train; the exit code is 0, 143 after SIGTERM, or that of the coded error."""
    collect_rarely()
    die_with_parent()
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stop.append(number))
    job = Job.model_validate_json(Path(arguments[0]).read_text(encoding="utf-8"))
    try:
        enter(arguments[0], job)
        report_elsewhere(job.key)
        finished = run_job(job, lambda: bool(stop))
    except Exception as error:  # whatever it is, the supervisor has to know it; the log gets no value of a row
        return _say_failure(error)
    return 0 if finished else STOPPED


def _say_failure(error: Exception) -> int:
    """Tell the supervisor what went wrong; the exit code for it."""
    failure = failure_of(error)
    emit({"event": "error", "what": failure.text, **failure.model_dump(exclude={"text"})})
    if not isinstance(error, TuneloopError):
        sys.stderr.write(safe_traceback(error))
    return 1 if failure.code in (CRASH, NCCL) else failure.as_error().exit_code


def run_job(job: Job, stop_asked: Any) -> bool:
    """Do the job from wherever it stands; whether it came to its end."""
    choice = chosen(job)
    share = join(choice.engine.value)
    try:
        return _run_share(job, stop_asked, choice, share)
    finally:
        leave()


def _run_share(job: Job, stop_asked: Any, choice: Choice, share: Share) -> bool:
    from tasks.inference.precision import slowness
    from tasks.tokens import load_tokenizer
    from tasks.train.adapter import build
    from tasks.train.engines import fsdp2
    from tasks.train.estimate import before, peak
    from tasks.train.trainer import train

    tokenizer = load_tokenizer(Path(job.base.path))
    run, available = run_of(job, tokenizer, share, stop_asked)
    decisions = _decisions(run, choice)
    run.objective.decided(decisions)
    run.say({"event": "decisions", "decisions": decisions.texts()})
    if slow := slowness(decisions.computed_in, decisions.device.value):
        run.say({"event": "note", "text": slow})
    before.refuse_impossible(run, decisions, machine_here(), choice)
    model = build(job, decisions)
    if share.engine == "fsdp2":
        fsdp2.split(model, decisions.device.value)
    collect_as_usual()
    run.objective.prepare(model, [*run.examples, *run.validation.examples], run.checkpoints)
    estimate = before.estimated(run, model, decisions)
    peak.begin_peak()
    try:
        train(run, model, tokenizer)
    finally:
        run.kept.wait()
    if not run.finished:
        return False
    highest = peak.peak()
    fsdp2.unite(model)
    run.put_best_back(model)
    # every process: where weights are split, none can compute alone
    measures = run.objective.measures(model, run.validation.examples)
    if share.main:
        told = decisions.texts() | {"chat_template": _template(job, tokenizer)}
        result = _result(run, model, available, told, measures)
        more = {"template": tokenizer.chat_template, "estimate": estimate, "peak_memory_bytes": highest}
        keep(job.work, result.model_copy(update=more))
        run.kept.remove_here()
    return True


def keep(work: Path, result: Result) -> None:
    """Write the note of a finished training, last: what it names lies on the disk then, and checkpoints may go."""
    files = [path for path in sorted(work.iterdir()) if path.is_file() and path.name[0] != "." and path.name != RESULT]
    for path in (*files, work):
        sync(path)
    digests = {path.name: digest_file(path) for path in files}
    write_atomically(work / RESULT, result.model_copy(update={"files": digests}).model_dump_json(indent=1))
    sync(work)


def run_of(job: Job, tokenizer: Any, share: Share, stop_asked: Any) -> tuple[Run, int]:
    """The training as far as no model is needed for it, standing at its beginning; and how many rows there are."""
    from tasks.train.data import chosen_rows, read_rows
    from tasks.train.methods import objective_of
    from tasks.train.preflight import check
    from tasks.train.run import Run
    from tasks.train.validation import Validation, split_rows

    config = job.config
    rows = read_rows(job.rows, job.row_count)
    objective = objective_of(config, _max_tokens(job), tokenizer.pad_token_id or 0)
    split = split_rows(chosen_rows(rows, config), config.validation_share, job.group_by, config.seed)
    examples = objective.examples(tokenizer, split.training)
    check(tokenizer, split.training, examples, config, _max_tokens(job))
    steps = plan_steps([objective.tokens(e) for e in examples], config)
    validation = Validation(
        objective.examples(tokenizer, split.validation),
        every=config.eval_steps,
        patience=config.early_stopping_evals,
        batch_rows=amended_micro_batch(config.micro_batch_rows, job.amendments),
    )
    run = Run(
        job=job,
        objective=objective,
        examples=examples,
        steps=amended_steps(steps, job.amendments),
        say=emit if share.main else _silent,
        stop_asked=stop_asked,
        share=share,
        validation=validation,
    )
    run.look_for_checkpoint()
    return run, len(rows)


def _result(run: Run, model: Any, available: int, decisions: dict[str, str], measures: dict[str, float]) -> Result:
    """Write the adapter that is the result; what to note of it."""
    from tasks.train.adapter import write

    each = examples_of_a_row(run.job.config.method)
    return Result(
        adapter_digest=write(model, run.job),
        key=run.job.key,
        steps=run.step,
        rows_seen=len(run.examples) // each,
        rows_available=available,
        tokens=run.tokens,
        seconds=run.seconds,
        interruptions=run.history.interruptions,
        curve=tuple(run.curve),
        decisions=decisions,
        template="",
        versions={name: importlib.metadata.version(name) for name in _LIBRARIES},
        history=run.history.said,
        repairs=read_log(run.checkpoints).said,
        validation=tuple(run.validation.looks),
        validation_rows=len(run.validation.examples) // each,
        best_step=run.validation.written_step,
        measures=measures,
    )


def _silent(_event: dict[str, Any]) -> None:
    """What a process says that does not speak for the others."""


def _template(job: Job, tokenizer: Any) -> str:
    from tasks.chat_template import template_note

    return template_note(tokenizer, Path(job.base.path))


def _max_tokens(job: Job) -> int:
    return context_tokens(Path(job.base.path)) or sys.maxsize


def _decisions(run: Run, choice: Choice) -> Decisions:
    """The decisions of this training: taken once by the first process; a later start reads them from its checkpoint."""
    text = ""
    if run.share.main:
        text = run.found.decisions() if run.found else decide_for(run, choice).model_dump_json()
        write_atomically(run.checkpoints / DECISIONS, text)
    run.decisions = run.share.gathered(text)[0]
    return amended_decisions(Decisions.model_validate_json(run.decisions), run.job.amendments)


def decide_for(run: Run, choice: Choice) -> Decisions:
    """The decisions of a training that begins here."""
    tokens = sum(run.objective.tokens(run.examples[row]) for step in run.steps for micro in step for row in micro)
    decisions = decide(
        decided_from(run.job.config, choice),
        run.job.base.parameters,
        tokens,
        machine_here(),
        read_shape(Path(run.job.base.path)),
        largest_micro_batch(run.steps, [run.objective.tokens(example) for example in run.examples]),
    )
    if decisions.compile.value == "on" and not machine_here().compiler and not machine_here().cuda:
        raise TrainingFailed(
            "compilation was asked for and is not possible here",
            where="train.compile",
            why="no C++ compiler is installed",
            remedy="install g++, or set train.compile to auto or off",
        )
    return settled(decisions, choice)


def machine_here() -> Machine:
    """What decisions depend on, of this machine."""
    import torch

    from tasks.inference.precision import multiplies_bf16

    cuda = torch.cuda.is_available()
    return Machine(
        cuda=cuda,
        free_bytes=torch.cuda.mem_get_info()[0] if cuda else psutil.virtual_memory().available,
        compiler=bool(shutil.which(os.environ.get("CXX", "g++"))),
        cores=physical_cores(),
        multiplies_bf16=multiplies_bf16("cuda" if cuda else "cpu"),
        flash_attention=cuda and importlib.util.find_spec(FLASH_PACKAGE) is not None,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
