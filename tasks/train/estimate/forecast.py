"""Time, memory and cost of a training in one record, and what would save how much. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from tasks.contracts import Forecast, Record
from tasks.errors import BudgetRefused
from tasks.train.engines.choose import Choice
from tasks.train.estimate.fit import Planned, gigabytes, needed
from tasks.train.estimate.known import Correction
from tasks.train.estimate.memory import Memory
from tasks.train.estimate.prices import CPU, PriceTable
from tasks.train.estimate.timing import Looks, Rates, Seconds, seconds_of
from tasks.train.estimate.work import Load, Steps, forward_flops, load_of, padding_share, total_flops
from tasks.train.plan import Decision, Decisions, Machine
from tasks.train.recipe import Recipe

_COUNTS = (1, 2, 4, 8)
_USUAL_MEMORY = 0.95  # of a device's memory that a training may use: the rest is the driver's


class OnKind(Record):
    """A training on one kind of machine of the price table."""

    kind: str
    devices: int = Field(description="How many are needed; 0: it does not fit on as many as one machine has.")
    engine: str
    memory_bytes: int = Field(description="Of each process.")
    seconds: float
    on_demand: float
    spot: float


def kind_of_run(recipe: Recipe, calibrated: bool) -> str:
    """Trainings whose estimates go wrong in the same way."""
    return f"{recipe.method}/{recipe.adapter}/{'calibrated' if calibrated else 'rough'}"


def forecast(
    memory: Memory,
    seconds: Seconds,
    rates: Rates,
    device: str,
    price: float | None,
    table: PriceTable | None,
    known: Correction,
    flops: float,
) -> Forecast:
    """The estimate of a training on one device, corrected by what earlier ones took."""
    margin = known.margin if known.margin is not None and rates.calibrated else rates.margin
    expected = seconds.total * known.time
    return Forecast(
        seconds=expected,
        low_seconds=expected * (1 - min(margin, 0.9)),
        high_seconds=expected * (1 + margin),
        memory_bytes=int(memory.total * known.memory),
        device=device,
        price_per_hour=price,
        currency=table.currency if table else "",
        calibrated=rates.calibrated,
        calibration_seconds=rates.calibration_seconds,
        first_seconds=rates.first_seconds,
        corrected_by=known.runs,
        raw_seconds=seconds.total,
        raw_memory_bytes=memory.total,
        flops=flops,
        time_parts=seconds.model_dump(),
        memory_parts=memory.model_dump(),
    )


def seen_by_calibration(memory: Memory, rates: Rates) -> Memory:
    """The memory with what the process really held before its first step in place of the computed base."""
    if not rates.base_bytes:
        return memory
    return memory.model_copy(update={"process": max(0, rates.base_bytes - memory.weights - memory.adapter)})


def refuse_too_dear(found: Forecast, limit: float | None) -> None:
    """Let a training start only if it is not estimated to cost more than it may.

    Raises:
        BudgetRefused: it is.
    """
    if limit is None or found.cost is None or found.cost <= limit:
        return
    share = limit / found.cost
    raise BudgetRefused(
        f"the training is estimated to cost {found.cost:.2f} {found.currency}, and it may cost {limit:.2f}",
        where="train.max_cost",
        why=f"about {found.seconds / 3600:.2f} h at {found.price_per_hour:.2f} an hour on {found.device}",
        remedy=f"train {share:.0%} of the rows or epochs (train.max_rows, train.epochs), take a cheaper machine "
        "(`tuneloop estimate` compares them), or raise train.max_cost",
    )


def on_kinds(planned: Planned, table: PriceTable, here: Forecast | None, looks: Looks) -> list[OnKind]:
    """The training on every kind of GPU of the table, and on a CPU like this one where it was measured."""
    steps = planned.steps()
    found = [_on_gpu(planned, steps, name, table, looks) for name in table.kinds if name != CPU]
    if here and table.kind_of(here.device) == CPU and CPU in table.kinds:
        hours, kind = here.seconds / 3600, table.kinds[CPU]
        own = OnKind(
            kind=CPU,
            devices=1,
            engine="single",
            memory_bytes=here.memory_bytes,
            seconds=here.seconds,
            on_demand=hours * kind.on_demand,
            spot=hours * kind.spot,
        )
        found.insert(0, own)
    return found


def _on_gpu(planned: Planned, steps: Steps, name: str, table: PriceTable, looks: Looks) -> OnKind:
    kind = table.kinds[name]
    free = int(kind.memory_gb * 1e9 * _USUAL_MEMORY)
    machine = Machine(cuda=True, free_bytes=free, compiler=True, cores=16, flash_attention=True)
    for count in _COUNTS:
        engine = Decision(value="single" if count == 1 else "fsdp2", reason="the fewest devices that it fits on")
        choice = Choice(engine=engine, processes=count)
        memory = needed(planned, machine, choice)
        if memory.total <= free:
            break
    fits = memory.total <= free
    load = load_of(planned.recipe, planned.shape, planned.decisions(machine, choice))
    rates = Rates(seconds_per_flop=1 / (kind.tflops * 1e12 * kind.utilisation), saving_bytes_per_second=5e8)
    seconds = seconds_of(steps, load, rates, looks, count).total
    return OnKind(
        kind=name,
        devices=count if fits else 0,
        engine=engine.value,
        memory_bytes=memory.total,
        seconds=seconds,
        on_demand=seconds / 3600 * kind.on_demand * count,
        spot=seconds / 3600 * kind.spot * count,
    )


def hints(planned: Planned, decisions: Decisions, kinds: Sequence[OnKind], looks: Looks) -> list[str]:
    """What would save how much, largest first where that can be compared."""
    load, steps, recipe = load_of(planned.recipe, planned.shape, decisions), planned.steps(), planned.recipe
    whole = total_flops(steps, load)
    looked = looks.looks * sum(forward_flops(micro, load) for micro in looks.validation)
    shares = {
        f"one epoch less (train.epochs: {recipe.epochs - 1:g})": 1 / recipe.epochs if recipe.epochs > 1 else 0.0,
        "rows of similar length beside each other or packed (train.packing: on)": padding_share(steps, load),
        "no recomputation (train.activation_checkpointing: off), if memory allows": _again(steps, load),
        "half as many looks at validation (train.eval_steps)": looked / 2 / (whole + looked),
    }
    texts = [f"{words}: about {share:.0%} of time and cost" for words, share in _largest(shares) if share >= 0.03]
    return [*_of_prices(kinds), *texts]


def _again(steps: Steps, load: Load) -> float:
    """Share of the work that computes something a second time."""
    return 1 - total_flops(steps, load.model_copy(update={"recomputes": False})) / max(1.0, total_flops(steps, load))


def _largest(shares: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(shares.items(), key=lambda found: -found[1])


def _of_prices(kinds: Sequence[OnKind]) -> list[str]:
    possible = [kind for kind in kinds if kind.devices]
    if not possible:
        return []
    cheapest, fastest = min(possible, key=lambda k: k.on_demand), min(possible, key=lambda k: k.seconds)
    saved = cheapest.on_demand - cheapest.spot
    texts = [
        f"{cheapest.kind} is the cheapest: {cheapest.on_demand:.2f} on demand, {cheapest.spot:.2f} on spot machines "
        f"(saves {saved:.2f}; an interrupted training goes on by itself)"
    ]
    if fastest.kind != cheapest.kind:
        more = fastest.on_demand - cheapest.on_demand
        texts.append(
            f"{fastest.kind} is the fastest: {cheapest.seconds / fastest.seconds:.1f} times, for {more:.2f} more"
        )
    return texts


def in_short(found: Forecast) -> str:
    """`about 12 min (10 to 14), 2.1 GB, cost 0.02 USD`."""
    low, middle, high = (seconds / 60 for seconds in (found.low_seconds, found.seconds, found.high_seconds))
    cost = f", cost {found.cost:.2f} {found.currency}" if found.cost is not None else ""
    rough = "" if found.calibrated else ", roughly"
    return f"about {middle:.1f} min ({low:.1f} to {high:.1f}){rough}, {gigabytes(found.memory_bytes)}{cost}"
