"""A short calibration: a few micro-batches of the plan, at two sizes, forward and backward, on the model as it is.

Nothing is left of it: gradients are dropped, the state of every random generator is put back, the optimiser that is
timed works on tensors of its own. So a training gives the same bytes with and without it. What is measured is chosen
by its FLOPs alone, at most a small share of the plan's: every process of a training measures the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tasks.train.estimate.memory import memory_of
from tasks.train.estimate.peak import begin_peak, give_back, peak, used_bytes
from tasks.train.estimate.timing import USUAL_UTILISATION, Measured, Rates, rates_of
from tasks.train.estimate.work import Load, Micro, flops, load_of, measure
from tasks.train.plan import Decisions
from tasks.train.random_state import capture, put_back
from tasks.train.run import Run
from tasks.train.shape import Shape, read_shape

SHARE = 0.042  # of the plan's FLOPs
MOST_ROUNDS = 5
_GEMM = 1024
_SURROGATE = 20_000_000  # learned weights that the optimiser is timed on, at most: more than a cache holds
_LEAST_RATIO, _MOST_RATIO = 0.3, 3.0  # of measured to computed memory of a pass: outside of that it is noise


class Chosen(NamedTuple):
    """Rows of a typical micro-batch, and of a smaller one; how often both are measured."""

    small: tuple[int, ...]
    typical: tuple[int, ...]
    rounds: int


class Calibration:
    """Measures this training on this machine, all at once or a round at a time.

    Args:
        run: the training, at a place between two steps.
        model: the model as it is trained.
        measures: whether micro-batches can be measured; an engine that takes the steps itself cannot be asked yet.
    """

    def __init__(self, run: Run, model: Any, decisions: Decisions, *, measures: bool = True) -> None:
        self._run, self._model, self._decisions = run, model, decisions
        self._load = load_of(run.job.config, _shape(run), decisions)
        self._small: list[Measured] = []
        self._typical: list[Measured] = []
        self._memory = 1.0
        self._first = self._seconds = self._optimizer = 0.0
        self._gemm = 0.0
        give_back()
        self.base_bytes = used_bytes()
        self.chosen = choose_rows(run, self._load) if measures else None

    def whole(self) -> Rates:
        """Everything at once, before the first step."""
        self.begin()
        for _ in range(self.chosen.rounds if self.chosen else 0):
            self.round()
        return self.rates()

    def begin(self) -> None:
        """What is measured once: memory and compilation of a first micro-batch, the optimiser, the rate of products."""
        began = time.perf_counter()
        if self.chosen:
            self._first = self._first_pass(self.chosen.typical)
        self._gemm = gemm_flops()
        self._optimizer = optimizer_seconds([p for p in self._model.parameters() if p.requires_grad])
        self._seconds += time.perf_counter() - began

    def round(self) -> None:
        """One micro-batch of each size."""
        if not self.chosen:
            return
        began = time.perf_counter()
        self._typical.append(self._measured(self.chosen.typical))
        if self.chosen.small != self.chosen.typical:
            self._small.append(self._measured(self.chosen.small))
        self._seconds += time.perf_counter() - began

    def rates(self) -> Rates:
        """What was found so far; without a micro-batch that was measured, what the rate of products promises."""
        common = {
            "optimizer_seconds": self._optimizer,
            "gemm_flops": self._gemm,
            "calibration_seconds": self._seconds,
            "base_bytes": self.base_bytes,
        }
        if not self._typical:
            return Rates(seconds_per_flop=1 / (USUAL_UTILISATION * self._gemm), **common)
        slope, fixed = rates_of(self._small or self._typical, self._typical)
        return Rates(
            seconds_per_flop=slope,
            micro_seconds=fixed,
            calibrated=True,
            memory_factor=self._memory,
            first_seconds=self._compilation(),
            **common,
        )

    def _compilation(self) -> float:
        """What the very first micro-batch cost beyond a usual one. It is paid already."""
        return max(0.0, self._first - min(m.seconds for m in self._typical))

    @property
    def seconds(self) -> float:
        """Seconds that calibration has taken so far."""
        return self._seconds

    def _first_pass(self, rows: Sequence[int]) -> float:
        """Seconds of the first micro-batch; what it takes of memory is measured beside what the formula says of it."""
        run, micro = self._run, _micro(self._run, rows)
        counted = begin_peak()
        before = used_bytes()
        found = self._measured(rows)
        shape, parameters = self._load.shape, run.job.base.parameters
        computed = memory_of(run.job.config, shape, parameters, self._decisions, micro)
        taken = peak() - before - computed.gradients - computed.kernels
        ratio = taken / max(1, computed.passing)
        if counted and _LEAST_RATIO <= ratio <= _MOST_RATIO:
            self._memory = ratio
        return found.seconds

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


def choose_rows(run: Run, load: Load) -> Chosen | None:
    """Rows to measure: of the most typical micro-batch, and a quarter of them. None: the plan is too short for it."""
    micros = [micro for step in run.steps[run.step :] for micro in step]
    sizes = [flops(_micro(run, micro), load) for micro in micros]
    if not sizes:
        return None
    allowed, middle = SHARE * sum(sizes), sum(sizes) / len(sizes)
    rows = min(zip(sizes, micros, strict=True), key=lambda found: abs(found[0] - middle))[1]
    for typical, small in _cuts(rows):
        first, quarter = (flops(_micro(run, part), load) for part in (typical, small))
        rounds = int((allowed - first) // (first + quarter))
        if rounds >= 1:
            return Chosen(small, typical, min(rounds, MOST_ROUNDS))
    return None


def _cuts(rows: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The rows with a quarter of them, then halves of both."""
    count = len(rows)
    while count:
        quarter = max(1, count // 4)
        yield rows[:count], rows[:quarter]
        count //= 2


def _micro(run: Run, rows: Sequence[int]) -> Micro:
    found = [measure(run.examples[row], run.job.config) for row in rows]
    return Micro(tuple(n for one in found for n in one.lengths), sum(one.learned for one in found))


def _shape(run: Run) -> Shape:
    return read_shape(Path(run.job.base.path))


def gemm_flops(size: int = _GEMM) -> float:
    """FLOPs a second of a product of two bf16 matrices; the better of some tries."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = size * 8 if device == "cuda" else size
    a = torch.ones((size, size), dtype=torch.bfloat16, device=device)
    best = 0.0
    for _ in range(4):
        began = time.perf_counter()
        torch.mm(a, a)
        _wait()
        best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best


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
