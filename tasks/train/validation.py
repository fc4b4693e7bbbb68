"""Validation: rows that are kept out of training, the loss on them, and when to stop because it no longer falls.

Rows are taken from the training rows, never from the test rows, so that the test still measures something new.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.contracts import Row, ValidationPoint
from tasks.digest import digest_of
from tasks.errors import TrainingFailed
from tasks.train.objective import Objective
from tasks.train.share import Share, whole

if TYPE_CHECKING:
    from torch import Tensor


class SplitRows(NamedTuple):
    """Rows to learn from, and rows to look at."""

    training: list[Row]
    validation: list[Row]


def split_rows(rows: Sequence[Row], share: float, group_by: str, seed: int) -> SplitRows:
    """Keep about `share` of the rows for validation; rows with the same prompt or group stay together.

    Args:
        group_by: metadata key whose values keep rows together, as when the dataset was split; empty: none.

    Raises:
        TrainingFailed: the rows are one group, so nothing would be left to learn from.
    """
    if share == 0:
        return SplitRows(list(rows), [])
    groups: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        groups[_group(row, group_by)].append(number)
    if len(groups) < 2:
        raise TrainingFailed(
            "no rows can be kept for validation",
            where="train.validation_share",
            why="all training rows have the same prompt or group",
            remedy="set train.validation_share to 0",
        )
    kept = _chosen(groups, share * len(rows), seed)
    return SplitRows(
        [row for number, row in enumerate(rows) if number not in kept],
        [row for number, row in enumerate(rows) if number in kept],
    )


def _group(row: Row, group_by: str) -> str:
    value = row.metadata.get(group_by, "") if group_by else ""
    return value or digest_of([message.content for message in row.prompt])


def _chosen(groups: Mapping[str, list[int]], wanted: float, seed: int) -> set[int]:
    """Numbers of the rows of whole groups, in an order that the seed decides; at least one group is left."""
    order = sorted(groups, key=lambda name: digest_of([seed, name]))
    kept: set[int] = set()
    for name in order[:-1]:
        if len(kept) >= wanted:
            break
        kept.update(groups[name])
    return kept


@dataclass
class Validation:
    """The looks at validation of one training.

    Args:
        examples: examples of the rows that are not learned.
        every: optimiser steps between two looks.
        patience: looks without a better loss after which training stops; 0: never, and the last adapter is the result.
        batch_rows: rows of one forward pass.
    """

    examples: Sequence[Any]
    every: int
    patience: int
    batch_rows: int
    looks: list[ValidationPoint] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    def due(self, step: int, finished: bool) -> bool:
        """Whether there is to be a look at this step and there was none yet."""
        looked = bool(self.looks) and self.looks[-1].step == step
        return bool(self.examples) and not looked and (finished or step % self.every == 0)

    def look(
        self, objective: Objective[Any], model: Any, share: Share, step: int, parameters: Mapping[str, Tensor]
    ) -> float:
        """Loss on all validation rows; the learned tensors are remembered where it is the best so far."""
        loss = validation_loss(objective, model, share, self.examples, self.batch_rows)
        self.looks.append(ValidationPoint(step=step, loss=loss))
        if self.patience and self.best_step == step:
            self.best = {name: whole(tensor).to("cpu", copy=True) for name, tensor in parameters.items()}
        return loss

    @property
    def best_step(self) -> int | None:
        """Step with the lowest loss after training began; the earlier one where two are equal."""
        later = [point for point in self.looks if point.step > 0 and not math.isnan(point.loss)]
        return min(later, key=lambda point: point.loss).step if later else None

    @property
    def written_step(self) -> int | None:
        """Step whose tensors are the result; None: the last one, where training does not stop by itself."""
        return self.best_step if self.patience else None

    @property
    def exhausted(self) -> bool:
        """Whether so many looks were no better than the best that training stops."""
        since = [point for point in self.looks if point.step > (self.best_step or 0)]
        return bool(self.patience) and len(since) >= self.patience

    def put_back(self, looks: Iterable[ValidationPoint], best: Mapping[str, Tensor]) -> None:
        """Go on where a checkpoint stands."""
        self.looks, self.best = list(looks), dict(best)


def validation_loss(
    objective: Objective[Any], model: Any, share: Share, examples: Sequence[Any], batch_rows: int
) -> float:
    """Mean loss over the units of the examples; the same number for any number of processes.

    Batches are dealt to the processes; each computes as many, the surplus for nothing, since some engines wait for all.
    """
    import torch

    order = sorted(range(len(examples)), key=lambda number: objective.tokens(examples[number]))
    batches = [order[at : at + batch_rows] for at in range(0, len(order), batch_rows)]
    found: dict[int, tuple[float, int]] = {}
    learning = model.training
    model.eval()
    with torch.no_grad(), torch.random.fork_rng():
        for number in range(share.rank, math.ceil(len(batches) / share.size) * share.size, share.size):
            rows = [examples[row] for row in batches[min(number, len(batches) - 1)]]
            loss = float(objective.loss(model, objective.batch(rows)))
            found[number] = (loss, sum(objective.units(row) for row in rows))
    model.train(learning)
    every = {number: sums for part in share.gathered(found) for number, sums in part.items() if number < len(batches)}
    return math.fsum(loss for loss, _ in every.values()) / max(1, sum(units for _, units in every.values()))
