"""What one of several processes does of a training: its part of every step, and the sums that all of them must know.

The plan is global and every process knows all of it, so nothing has to be talked about but gradients and losses.
Gradients of what is learned are summed by one message a step; no wrapper around the model is needed for that. A sum of
two is the same in either order, and more processes are always added in the same order, so a run repeats exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
SPLIT = ("fsdp2", "zero2", "zero3")
"""Engines that split what a process holds; they need GPUs."""


@dataclass(frozen=True)
class Share:
    """One process of a training."""

    rank: int = 0
    size: int = 1
    engine: str = "single"
    local_rank: int = 0
    """Number of the process on its own machine."""

    @property
    def lockstep(self) -> bool:
        """Whether every process has to compute as often as the others, because weights travel while it does."""
        return self.engine in SPLIT

    @property
    def zero(self) -> bool:
        """Whether DeepSpeed takes the steps."""
        return self.engine.startswith("zero")

    @property
    def main(self) -> bool:
        """Whether this process reports and writes."""
        return self.rank == 0

    def part(self, step: Sequence[T]) -> list[tuple[T, float]]:
        """The micro-batches of a step that this process computes, each with its weight in the sum.

        They are dealt like cards. In lockstep a process without a card computes the step's first one for nothing.
        """
        own = [(micro, 1.0) for micro in step[self.rank :: self.size]]
        rounds = -(-len(step) // self.size)
        return own if not self.lockstep else own + [(step[0], 0.0)] * (rounds - len(own))

    def sum_gradients(self, parameters: Iterable[Any]) -> None:
        """Put the sum over all processes into every parameter's gradient; one message, added in fp32.

        Parameters that are split over the processes are left alone: the engine that split them sums their gradients.
        """
        if self.size == 1:
            return
        import torch
        from torch.distributed.tensor import DTensor

        whole = [p for p in parameters if not isinstance(p, DTensor)]
        for parameter in whole:
            if parameter.grad is None:  # nothing to do in this step; the others wait for the message all the same
                parameter.grad = torch.zeros_like(parameter)
        if not whole:
            return
        flat = torch.cat([p.grad.reshape(-1).float() for p in whole])
        torch.distributed.all_reduce(flat)
        start = 0
        for parameter in whole:
            count = parameter.grad.numel()
            parameter.grad.copy_(flat[start : start + count].view_as(parameter.grad))
            start += count

    def sum_value(self, value: float, device: Any = "cpu") -> float:
        """The sum of a number over all processes."""
        if self.size == 1:
            return value
        import torch

        total = torch.tensor(value, dtype=torch.float64, device=device)
        torch.distributed.all_reduce(total)
        return float(total)

    def gathered(self, value: T) -> list[T]:
        """What each process gave, in the order of their numbers, in every process. All of them have to call it."""
        if self.size == 1:
            return [value]
        import torch

        values: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        """Go on when every process has come here."""
        if self.size > 1:
            import torch

            torch.distributed.barrier()


def whole(tensor: Any) -> Any:
    """All of a tensor that is split over the processes, which all have to call it; another one as it is."""
    full = getattr(tensor.detach(), "full_tensor", None)
    return full() if full else tensor.detach()
