"""An estimate in a process of its own: `python -m tasks.train.estimate.process REQUEST.json`. Trains nothing.

Sends one event, `estimate`, with everything that is known. With rows it plans the training as the trainer would and
measures a few of its micro-batches; without, it takes rows of one length, as long as the sources' files suggest.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from tasks.adapters.cycles import collect_as_usual, collect_rarely
from tasks.adapters.devices import available_bytes, resident_bytes
from tasks.adapters.processes import die_with_parent, emit
from tasks.contracts import Forecast, Record
from tasks.errors import BudgetRefused, TuneloopError
from tasks.train.automatic import examples_of_a_row
from tasks.train.engines.choose import Choice, choose
from tasks.train.engines.ranks import look
from tasks.train.estimate.before import forecast_of, looks_of
from tasks.train.estimate.fit import Planned, Proposal, needed_with, proposals
from tasks.train.estimate.forecast import OnKind, hints, on_kinds, refuse_too_dear
from tasks.train.estimate.memory import PROCESS_BYTES
from tasks.train.estimate.prices import load_prices
from tasks.train.estimate.timing import USUAL_UTILISATION, Looks, Rates
from tasks.train.estimate.work import load_of, padding_share, planned
from tasks.train.failure_report import failure_of
from tasks.train.grpo import sampled
from tasks.train.objective import Micro, Objective
from tasks.train.plan import Decisions, Job, Machine, plan_steps
from tasks.train.recipe import Recipe
from tasks.train.run import Run
from tasks.train.shape import read_shape
from tasks.train.share import SPLIT, Share
from tasks.train.worker import decide_for, machine_here, run_of

_USUAL_LEARNED = 0.5  # share of a row's tokens that is learned, where no row was read


class Guess(Record):
    """Data that was not prepared yet, as its files suggest."""

    rows: int = Field(ge=1)
    tokens: int = Field(ge=2, description="Of a row.")


class Request(Record):
    """What is to be estimated."""

    job: Job
    guess: Guess | None = Field(None, description="In place of the job's rows.")
    calibrate: bool = Field(True, description="Load the model and measure some micro-batches.")


class Estimated(Record):
    """Everything that is known of a training before it starts."""

    here: Forecast
    rows: int
    steps: int
    tokens: int = Field(description="Of all steps, padding excluded.")
    learned_share: float
    padding_share: float
    decisions: dict[str, str]
    free_bytes: int = Field(description="Memory that this machine has for it.")
    fits: bool
    proposals: tuple[Proposal, ...]
    refusal: str = Field("", description="Why it would not be started here; empty: it would.")
    kinds: tuple[OnKind, ...]
    hints: tuple[str, ...]


def main(arguments: Sequence[str]) -> int:
    """Estimate; the exit code is 0 or that of the coded error."""
    collect_rarely()
    die_with_parent()
    request = Request.model_validate_json(Path(arguments[0]).read_text(encoding="utf-8"))
    try:
        take_cores_of_one(choice_of(request.job))
        found = estimate(request)
    except TuneloopError as error:
        failure = failure_of(error)
        emit({"event": "error", "what": failure.text, **failure.model_dump(exclude={"text"})})
        return error.exit_code
    emit({"event": "estimate", "found": found.model_dump(mode="json")})
    return 0


def choice_of(job: Job) -> Choice:
    """The engine and the number of processes that a training would begin with here; this process is one, and alone.

    Raises:
        TuneloopError: as the trainer itself would say it, where that is not possible here.
    """
    return choose(job.config, job.base.parameters, look())


def take_cores_of_one(choice: Choice) -> None:
    """On a CPU, compute with as many cores as each process of the training would have: its speed is measured."""
    cores = sorted(os.sched_getaffinity(0))
    if choice.processes > 1 and not look().gpus and len(cores) >= choice.processes:
        os.sched_setaffinity(0, cores[: len(cores) // choice.processes])


def estimate(request: Request) -> Estimated:
    """The estimate of a training on this machine and on the kinds of the price table."""
    job = request.job
    choice = choice_of(job)
    run = guessed_run(job, request.guess) if request.guess else _real_run(job)
    decisions = decide_for(run, choice)
    run.objective.decided(decisions)
    shape = read_shape(Path(job.base.path))
    plan = Planned(
        recipe=job.config,
        shape=shape,
        parameters=job.base.parameters,
        rows=tuple(run.objective.computed(example) for example in run.examples),
    )
    machine = _machine()
    steps = planned(run.steps, run.examples, run.objective)
    fits = needed_with(plan, decisions, steps).total <= machine.free_bytes
    # what one process holds of weights that are split cannot be measured by a process alone
    measures = request.calibrate and request.guess is None and fits and choice.engine.value not in SPLIT
    rates = _rates(run, decisions, measures)
    return _found(run, plan, decisions, machine, choice, rates, looks_of(run, shape))


def _found(
    run: Run, plan: Planned, decisions: Decisions, machine: Machine, choice: Choice, rates: Rates, looks: Looks
) -> Estimated:
    here = forecast_of(run, decisions, rates)
    fits = here.memory_bytes <= machine.free_bytes
    steps = planned(run.steps, run.examples, run.objective)
    kinds = on_kinds(plan, run.job.known.prices or load_prices(), here, looks)
    tokens = sum(micro.tokens for step in steps for micro in step)
    return Estimated(
        here=here,
        rows=len(run.examples) // examples_of_a_row(run.job.config.method),
        steps=len(steps),
        tokens=tokens,
        learned_share=sum(micro.learned for step in steps for micro in step) / max(1, tokens),
        padding_share=padding_share(steps, load_of(plan.recipe, plan.shape, decisions)),
        decisions=decisions.texts(),
        free_bytes=machine.free_bytes,
        fits=fits,
        proposals=() if fits else tuple(proposals(plan, machine, choice)),
        refusal=_refusal(here, run.job.config.max_cost, fits),
        kinds=tuple(kinds),
        hints=tuple(hints(plan, decisions, kinds, looks)),
    )


def _refusal(here: Forecast, max_cost: float | None, fits: bool) -> str:
    if not fits:
        return "it does not fit into this machine's memory"
    try:
        refuse_too_dear(here, max_cost)
    except BudgetRefused as error:
        return error.what
    return ""


def _real_run(job: Job) -> Run:
    from tasks.tokens import load_tokenizer

    run, _ = run_of(job, load_tokenizer(Path(job.base.path)), Share(), bool)
    return run


class _Counted(Objective[Micro]):
    """Stands for a method where there are no rows yet: counts, and computes nothing."""

    unit = "tokens"

    def examples(self, _tokenizer: Any, _rows: Any) -> list[Micro]:
        return []

    def tokens(self, example: Micro) -> int:
        return example.tokens

    def computed(self, example: Micro) -> Micro:
        return example

    def units(self, example: Micro) -> int:
        return example.learned

    def batch(self, _examples: Any) -> dict[str, Any]:
        return {}

    def loss(self, _model: Any, _batch: Any) -> Any:
        return 0.0


def guessed_run(job: Job, guess: Guess) -> Run:
    """The plan of a training on rows that nobody has read yet."""
    config = job.config
    count = min(guess.rows, config.max_rows or guess.rows) * examples_of_a_row(config.method)
    length = min(guess.tokens, config.sequence_tokens or guess.tokens)
    rows = [_guessed(config, length)] * count
    objective = _Counted()
    return Run(
        job=job,
        objective=objective,
        examples=rows,
        steps=plan_steps([objective.tokens(row) for row in rows], config),
        say=lambda _: None,
        stop_asked=bool,
    )


def _guessed(config: Recipe, length: int) -> Micro:
    """An example of a row of so many tokens, as its method would make it."""
    learned = int(length * _USUAL_LEARNED)
    if config.method in ("dpo", "ipo"):
        return Micro((length, length), 2 * learned)
    if config.method == "kto":
        return Micro((length,), learned, (length,))
    return sampled(length - learned, config) if config.method == "grpo" else Micro((length,), learned)


def _rates(run: Run, decisions: Decisions, calibrate: bool) -> Rates:
    from tasks.train.estimate.calibration import Calibration, gemm_flops

    if not calibrate:
        rate = gemm_flops(decisions.computed_in)
        return Rates(seconds_per_flop=1 / (USUAL_UTILISATION * rate), gemm_flops=rate)
    from tasks.train.adapter import build

    model = build(run.job, decisions)
    collect_as_usual()
    run.objective.prepare(model, _few(run, decisions), run.checkpoints)
    return Calibration(run, model, decisions).whole()


def _few(run: Run, decisions: Decisions) -> list[Any]:
    """The examples that a calibration measures: what a method works out before training, it needs for these only."""
    from tasks.train.estimate.calibration import choose_rows

    found = choose_rows(run, load_of(run.job.config, read_shape(Path(run.job.base.path)), decisions))
    return [run.examples[row] for pair in found for row in pair.large]


def _machine() -> Machine:
    found = machine_here()
    held = int(PROCESS_BYTES["cuda"]) if found.cuda else resident_bytes()
    free = found.free_bytes if found.cuda else min(found.free_bytes, available_bytes())
    return found.model_copy(update={"free_bytes": free + held})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
