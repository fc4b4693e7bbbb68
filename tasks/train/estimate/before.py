"""Trainer side, before the first step: refuse what cannot fit or costs too much, and say what the rest will take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tasks.adapters.devices import available_bytes, cpu_name, resident_bytes
from tasks.adapters.store import write_atomically
from tasks.contracts import Forecast
from tasks.train.engines.choose import Choice
from tasks.train.estimate.fit import Planned, needed_with, refuse_if_too_large
from tasks.train.estimate.forecast import forecast, in_short, kind_of_run, refuse_too_dear, seen_by_calibration
from tasks.train.estimate.known import correction
from tasks.train.estimate.memory import PROCESS_BYTES
from tasks.train.estimate.prices import price_for
from tasks.train.estimate.saving import checkpoint_bytes
from tasks.train.estimate.timing import Looks, Rates, looks_during, seconds_of
from tasks.train.estimate.work import joined, load_of, planned, total_flops
from tasks.train.plan import Decisions, Machine
from tasks.train.run import Run
from tasks.train.shape import read_shape

ESTIMATE = "estimate.json"


def refuse_impossible(run: Run, decisions: Decisions, machine: Machine, choice: Choice) -> None:
    """Let a training go on only where it fits, before its model is loaded.

    Raises:
        BudgetRefused: it does not; with changes that would make it fit.
    """
    job = run.job
    plan = Planned(
        recipe=job.config,
        shape=read_shape(Path(job.base.path)),
        parameters=job.base.parameters,
        rows=tuple(run.objective.computed(example) for example in run.examples),
    )
    held = int(PROCESS_BYTES["cuda"]) if machine.cuda else resident_bytes()
    free = min(machine.free_bytes, machine.free_bytes if machine.cuda else available_bytes()) + held
    memory = needed_with(plan, decisions, planned(run.steps, run.examples, run.objective))
    refuse_if_too_large(memory, plan, machine.model_copy(update={"free_bytes": free}), choice)


def estimated(run: Run, model: Any, decisions: Decisions) -> Forecast:
    """What this training will take: measured before its first step; a resumed one says again what it said then.

    Every process of a training has to call it; the first one's word counts.

    Raises:
        BudgetRefused: it would cost more than it may.
    """
    before = _said_before(run) if run.found else None
    again = before is not None
    found = before or _agreed(run, model, decisions)
    if run.share.main and not again:
        write_atomically(run.checkpoints / ESTIMATE, found.model_dump_json(indent=1))
    text = f"as estimated at first: {in_short(found)}" if again else in_short(found)
    run.say({"event": "estimate", "text": text, "again": again, "estimate_seconds": found.seconds,
             "estimate_memory_bytes": found.memory_bytes, "estimate_cost": found.cost,
             "price_per_hour": found.price_per_hour, "calibrated": found.calibrated})  # fmt: skip
    return found


def _said_before(run: Run) -> Forecast | None:
    """What the first start said, as the first process reads it; None where this release cannot read it."""
    file = run.checkpoints / ESTIMATE
    there = run.share.main and file.is_file()
    text = run.share.gathered(file.read_text(encoding="utf-8", errors="replace") if there else "")[0]
    try:
        return Forecast.model_validate_json(text)
    except ValidationError:
        return None


def _agreed(run: Run, model: Any, decisions: Decisions) -> Forecast:
    """The first process's estimate, if its cost is allowed."""
    found = Forecast.model_validate_json(run.share.gathered(_measured(run, model, decisions).model_dump_json())[0])
    refuse_too_dear(found, run.job.config.max_cost)
    return found


def _measured(run: Run, model: Any, decisions: Decisions) -> Forecast:
    from tasks.train.estimate.calibration import Calibration

    calibration = Calibration(run, model, decisions, measures=not run.share.zero)
    return forecast_of(run, decisions, calibration.whole())


def forecast_of(run: Run, decisions: Decisions, rates: Rates) -> Forecast:
    """The estimate of a training from the rates that were found."""
    job, recipe, device = run.job, run.job.config, device_name(decisions)
    shape = read_shape(Path(job.base.path))
    steps = planned(run.steps, run.examples, run.objective)
    load, kind = load_of(recipe, shape, decisions), kind_of_run(recipe, rates.calibrated)
    known = correction(job.known.past, device, kind)
    processes = int(decisions.processes.value)
    rates = rates.model_copy(update={"saving_bytes_per_second": job.known.saving_bytes_per_second})
    seconds = seconds_of(steps, load, rates, looks_of(run, shape), processes)
    plan = Planned(recipe=recipe, shape=shape, parameters=job.base.parameters, rows=())
    memory = seen_by_calibration(needed_with(plan, decisions, steps, rates.memory_factor), rates)
    table = job.known.prices
    price = (
        price_for(table, device, processes if decisions.device.value == "cuda" else 1, recipe.max_cost)
        if table
        else None
    )
    return forecast(memory, seconds, rates, device, price, table, known, total_flops(steps, load))


def looks_of(run: Run, shape: Any) -> Looks:
    """What happens beside the steps of a training."""
    config, validation, steps = run.job.config, run.validation, len(run.steps)
    rows = sorted((run.objective.computed(example) for example in validation.examples), key=lambda row: row.tokens)
    size = validation.batch_rows
    batches = (rows[at : at + size] for at in range(0, len(rows), size))
    return Looks(
        validation=tuple(joined(batch) for batch in batches),
        looks=looks_during(steps, validation.every) if rows else 0,
        saves=(steps - 1) // config.checkpoint_steps,
        save_bytes=checkpoint_bytes(config, shape, run.job.base.parameters),
    )


def device_name(decisions: Decisions) -> str:
    """Name of the device that trains."""
    if decisions.device.value == "cuda":
        import torch

        return str(torch.cuda.get_device_name())
    return cpu_name()
