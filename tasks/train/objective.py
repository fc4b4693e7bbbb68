"""What a training makes smaller, behind one interface: how rows become examples, batches and a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from tasks.contracts import Row
from tasks.train.plan import Decisions

if TYPE_CHECKING:
    from torch import Tensor

E = TypeVar("E")


class Micro(NamedTuple):
    """What a micro-batch computes: the sequences of its forward and backward pass, and those of a forward pass alone.

    `learned`: how many tokens of the former are learned.
    """

    lengths: tuple[int, ...]
    learned: int
    looked: tuple[int, ...] = ()

    @property
    def tokens(self) -> int:
        """Tokens of all its sequences."""
        return sum(self.lengths) + sum(self.looked)


class Objective(ABC, Generic[E]):
    """One method of training. The loss of a step is the sum over its units, divided by their number in the whole step.

    The trainer, checkpoints, packing and several processes know nothing else of a method, so each works with all.
    """

    unit: str
    """What the mean is taken over: `tokens` or `pairs`."""
    measured: tuple[str, ...] = ()
    """Names of what `measures` finds."""

    @abstractmethod
    def examples(self, tokenizer: Any, rows: Sequence[Row]) -> list[E]:
        """The rows as this method learns from them, in order. Raises TrainingFailed that names the row."""

    @abstractmethod
    def tokens(self, example: E) -> int:
        """Tokens of an example that are computed, padding excluded."""

    @abstractmethod
    def computed(self, example: E) -> Micro:
        """What one example costs in training: estimates of time and memory follow from it."""

    @abstractmethod
    def units(self, example: E) -> int:
        """How much an example counts in the mean."""

    @abstractmethod
    def batch(self, examples: Sequence[E]) -> dict[str, Tensor]:
        """One micro-batch as tensors."""

    @abstractmethod
    def loss(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        """Sum of the losses of the batch's units; a scalar with gradients."""

    def decided(self, decisions: Decisions) -> None:
        """Called once, before the first batch, with how this run uses the machine."""

    def prepare(self, model: Any, examples: Sequence[E], folder: Path) -> None:
        """Called before the first step of every start with the model as it is before training, and all examples.

        What is worked out here (reference log-probabilities, for example) is kept in `folder`, beside the checkpoints,
        so that a resumed training goes on with the same numbers.
        """

    def measures(self, model: Any, examples: Sequence[E]) -> dict[str, float]:  # noqa: ARG002 (of none, by default)
        """What else the method measures on examples that are not learned, by name; takes part in no decision."""
        return {}
