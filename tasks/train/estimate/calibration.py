"""A short calibration: a few micro-batches of the plan, small and large, forward and backward, on the model as it is.

Nothing is left of it: gradients are dropped, the state of every random generator is put back, the optimiser that is
timed works on tensors of its own. So a training gives the same bytes with and without it. What is measured is chosen
by its FLOPs, at most a small share of the plan's, and ends where it would take more than a share of the run's seconds:
every process of a training measures the same.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tasks.contracts import Precision
from tasks.inference.precision import torch_type
from tasks.train.estimate.memory import memory_of
from tasks.train.estimate.peak import begin_peak, give_back, peak, used_bytes
from tasks.train.estimate.timing import USUAL_UTILISATION, Measured, Rates, rates_of
from tasks.train.estimate.work import Load, flops, joined, load_of, planned, total_flops
from tasks.train.objective import Micro
from tasks.train.plan import Decisions
from tasks.train.random_state import capture, put_back
from tasks.train.run import Run
from tasks.train.shape import Shape, read_shape

SHARE = 0.032  # of the plan's FLOPs
MOST_SHARE = 0.05  # of the run's seconds; first passes take several times as long as usual ones
# Where other programs share the processor, steps of one size took 1.4 to 4.5 seconds: few rounds say little there.
MOST_ROUNDS, LEAST_ROUNDS = 12, 2
_GEMM = 1024
_GEMM_TRIES = 4
_GEMM_SECONDS = 1.0  # no further try after that: where a type has no instructions, one takes seconds
_SURROGATE = 20_000_000  # learned weights that the optimiser is timed on, at most: more than a cache holds
_LEAST_RATIO, _MOST_RATIO = 0.3, 3.0  # of measured to computed memory of a pass: outside of that it is noise


class Pair(NamedTuple):
    """Rows of a micro-batch, and some of them as a smaller one; that may be empty: it is not measured then."""

    small: tuple[int, ...]
    large: tuple[int, ...]


class Calibration:
    """Measures this training on this machine, all at once or a round at a time.

    Args:
        run: the training, at a place between two steps.
        model: the model as it is trained.
        measures: whether micro-batches can be measured; an engine that takes the steps itself cannot be asked yet.

    Attributes:
        rounds: how often `round` can be called.
    """

    def __init__(self, run: Run, model: Any, decisions: Decisions, *, measures: bool = True) -> None:
        self._run, self._model, self._decisions = run, model, decisions
        self._load = load_of(run.job.config, _shape(run), decisions)
        self._small: list[Measured] = []
        self._large: list[Measured] = []
        self._memory = 1.0
        self._first = self._seconds = self._optimizer = 0.0  # first: what both first passes took
        self._gemm = 0.0
        give_back()
        self.base_bytes = used_bytes()
        self._pairs = choose_rows(run, self._load) if measures else ()
        self.rounds = len(self._pairs[1:])
        plan = planned(run.steps[run.step :], run.examples, run.objective) if self._pairs else []
        self._micros, self._flops = sum(map(len, plan)), total_flops(plan, self._load)

    def whole(self) -> Rates:
        """Everything at once, before the first step."""
        self.begin()
        while self.affordable():
            self.round()
        return self.rates()

    def affordable(self) -> bool:
        """Whether a round is left and keeps the calibration within its share of the run's seconds; two always are.

        Every process of a training has to ask: the first one's clock counts.
        """
        done = len(self._large)
        if done < LEAST_ROUNDS or done == self.rounds:
            return done < self.rounds
        slope, fixed = self._line()
        run_seconds = (self._micros * fixed + self._flops * slope) / self._run.share.size
        then = self._seconds + self._usual(self._pairs[1 + done], slope, fixed)
        return self._run.share.gathered(then <= MOST_SHARE * run_seconds)[0]

    def begin(self) -> None:
        """What is measured once: memory and compilation of first micro-batches, the optimiser, the rate of products."""
        began = time.perf_counter()
        if self._pairs:
            self._first = self._first_passes(self._pairs[0])
        self._gemm = gemm_flops(self._decisions.computed_in)
        self._optimizer = optimizer_seconds([p for p in self._model.parameters() if p.requires_grad])
        self._seconds += time.perf_counter() - began

    def round(self) -> None:
        """One micro-batch of rows that were not measured yet: in a training, too, most sizes are new."""
        began, pair = time.perf_counter(), self._pairs[1 + len(self._large)]
        self._large.append(self._measured(pair.large))
        if pair.small:
            self._small.append(self._measured(pair.small))
        self._seconds += time.perf_counter() - began

    def rates(self) -> Rates:
        """What was found so far; without a micro-batch that was measured, what the rate of products promises."""
        common = {
            "optimizer_seconds": self._optimizer,
            "gemm_flops": self._gemm,
            "calibration_seconds": self._seconds,
            "base_bytes": self.base_bytes,
        }
        if not self._large:
            return Rates(seconds_per_flop=1 / (USUAL_UTILISATION * self._gemm), **common)
        slope, fixed = self._line()
        return Rates(
            seconds_per_flop=slope,
            micro_seconds=fixed,
            calibrated=True,
            memory_factor=self._memory,
            # what the very first micro-batches cost beyond usual ones of their size; it is paid already
            first_seconds=max(0.0, self._first - self._usual(self._pairs[0], slope, fixed)),
            **common,
        )

    def _line(self) -> tuple[float, float]:
        return rates_of(self._small or self._large, self._large)

    def _usual(self, pair: Pair, slope: float, fixed: float) -> float:
        """Seconds that micro-batches of these sizes usually take."""
        return sum(fixed + slope * flops(_micro(self._run, part), self._load) for part in pair if part)

    @property
    def seconds(self) -> float:
        """Seconds that calibration has taken so far."""
        return self._seconds

    def _first_passes(self, chosen: Pair) -> float:
        """Seconds of the first micro-batches. Afterwards it is known what memory they take, at first and each time.

        What a process holds from its first pass on (code of libraries, compiled products) is there after the small
        one; the large one is measured beside what the formula says of it.
        """
        small = self._measured(chosen.small).seconds
        give_back()
        computed = memory_of(
            self._run.job.config, self._load.shape, self._run.job.base.parameters, self._decisions,
            _micro(self._run, chosen.large),
        )  # fmt: skip
        before, counted = used_bytes(), begin_peak()
        self.base_bytes = max(self.base_bytes, before - computed.kernels)
        large = self._measured(chosen.large).seconds
        ratio = (peak() - before - computed.gradients) / max(1, computed.passing)
        if counted and _LEAST_RATIO <= ratio <= _MOST_RATIO:
            self._memory = ratio
        return small + large

    def _measured(self, rows: Sequence[int]) -> Measured:
        """Forward and backward of one micro-batch; random state, gradients and mode are as before afterwards."""
        run, model = self._run, self._model
        examples = [run.examples[row] for row in rows]
        state, training = capture(), model.training
        model.train()
        began = time.perf_counter()
        run.objective.loss(model, run.objective.batch(examples)).backward()  # type: ignore[no-untyped-call]
        _wait()
        seconds = time.perf_counter() - began
        for parameter in model.parameters():
            parameter.grad = None
        model.train(training)
        put_back(state)
        micro = _micro(run, rows)
        return Measured(flops=flops(micro, self._load), seconds=seconds)


def choose_rows(run: Run, load: Load) -> tuple[Pair, ...]:
    """Rows to measure: first a typical micro-batch, for what only first passes show; then some of every size there is.

    A FLOP of long rows takes longer than one of short rows (their attention runs at a fraction of the rate of plain
    products): measuring what is typical alone would miss that. Whole micro-batches if a share of the plan allows some
    of them, else parts. Empty: the plan is too short.
    """
    micros = [micro for step in run.steps[run.step :] for micro in step]
    sizes = [flops(_micro(run, micro), load) for micro in micros]
    if not sizes:
        return ()
    allowed, middle = SHARE * sum(sizes), sum(sizes) / len(sizes)
    by_size = list(dict.fromkeys(micros[at] for at in sorted(range(len(micros)), key=sizes.__getitem__)))
    first = micros[min(range(len(micros)), key=lambda at: abs(sizes[at] - middle))]
    others = [micro for micro in by_size if micro != first] or by_size
    for cut in range(max(map(len, micros)).bit_length()):
        for rounds in range(MOST_ROUNDS, LEAST_ROUNDS - 1, -1):
            pairs = _pairs([first, *_spread(others, rounds)], cut)
            if sum(flops(_micro(run, part), load) for pair in pairs for part in pair) <= allowed:
                return pairs
    return ()


def _spread(by_size: Sequence[tuple[int, ...]], count: int) -> list[tuple[int, ...]]:
    """So many of them, evenly over the sizes, but in an order that has nothing to do with size."""
    found = [by_size[int((at + 0.5) / count * len(by_size))] for at in range(count)]
    random.Random(0).shuffle(found)  # the same for every process
    return found


def _pairs(rows: Sequence[tuple[int, ...]], cut: int) -> tuple[Pair, ...]:
    """The rows, halved so many times, each with a quarter of what is left.

    Of whole micro-batches one measured quarter is enough: no line has to reach beyond what was measured.
    """
    halved = [micro[: max(1, len(micro) >> cut)] for micro in rows]
    quarters = [micro[: max(1, len(micro) // 4)] for micro in halved]
    kept = [
        quarter if at == 0 or (quarter != micro and (cut or at == 1)) else ()
        for at, (micro, quarter) in enumerate(zip(halved, quarters, strict=True))
    ]
    return tuple(map(Pair, kept, halved))


def _micro(run: Run, rows: Sequence[int]) -> Micro:
    return joined([run.objective.computed(run.examples[row]) for row in rows])


def _shape(run: Run) -> Shape:
    return read_shape(Path(run.job.base.path))


def gemm_flops(precision: Precision, size: int = _GEMM) -> float:
    """FLOPs a second of a product of two matrices; the better of some tries."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = size * 8 if device == "cuda" else size
    a = torch.ones((size, size), dtype=torch_type(precision), device=device)
    tries: list[float] = []
    while len(tries) < _GEMM_TRIES and sum(tries) < _GEMM_SECONDS:
        began = time.perf_counter()
        torch.mm(a, a)
        _wait()
        tries.append(time.perf_counter() - began)
    return 2 * size**3 / min(tries)


def optimizer_seconds(learned: Sequence[Any]) -> float:
    """Seconds of one step of clipping and AdamW for these parameters, timed on tensors of the same kind."""
    total = sum(p.numel() for p in learned)
    if not total:
        return 0.0
    some: list[Any] = []
    for p in learned:
        if sum(s.numel() for s in some) < _SURROGATE:
            flat = torch.zeros(min(p.numel(), _SURROGATE), dtype=p.dtype, device=p.device)
            some.append(flat.requires_grad_(True))
    optimizer = torch.optim.AdamW(some, lr=1e-6, fused=True)
    found = []
    for _ in range(3):
        for p in some:
            p.grad = torch.ones_like(p)
        began = time.perf_counter()
        torch.nn.utils.clip_grad_norm_(some, 1.0)
        optimizer.step()
        _wait()
        found.append(time.perf_counter() - began)
    return min(found[1:]) * float(total / sum(s.numel() for s in some))


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
