"""Does a training fit into a machine's memory, and if not, what would? Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tasks.contracts import Record
from tasks.errors import BudgetRefused, TuneloopError
from tasks.train.engines.choose import Choice, decided_from, settled
from tasks.train.estimate.memory import Memory, memory_of
from tasks.train.estimate.work import Load, flops, joined, largest, load_of, positions
from tasks.train.objective import Micro
from tasks.train.plan import Decision, Decisions, Machine, decide, largest_micro_batch, plan_steps
from tasks.train.recipe import Recipe
from tasks.train.shape import Shape

_SHORTER = (0.75, 0.5, 0.25)
ONE = Choice(engine=Decision(value="single", reason="one process"), processes=1)


class Planned(Record):
    """A training as far as it can be planned: what memory, time and cost follow from."""

    recipe: Recipe
    shape: Shape
    parameters: int
    rows: tuple[Micro, ...]
    """Each training example: lengths of its sequences, learned tokens."""

    def steps(self) -> list[list[Micro]]:
        """The micro-batches of all steps."""
        return [
            [joined([self.rows[number] for number in micro]) for micro in step]
            for step in plan_steps(self._lengths(), self.recipe)
        ]

    def _lengths(self) -> list[int]:
        return [row.tokens for row in self.rows]

    def decisions(self, machine: Machine, choice: Choice = ONE) -> Decisions:
        """What the trainer would decide on a machine."""
        lengths = self._lengths()
        steps = plan_steps(lengths, self.recipe)
        tokens = sum(lengths[row] for step in steps for micro in step for row in micro)
        found = decide(
            decided_from(self.recipe, choice), self.parameters, tokens, machine, self.shape,
            largest_micro_batch(steps, lengths),
        )  # fmt: skip
        return settled(found, choice)

    def changed(self, **fields: Any) -> Planned:
        """The same training with other values."""
        return self.model_copy(update={"recipe": self.recipe.model_copy(update=fields)})

    def shortened(self, tokens: int) -> Planned:
        """The same training without what is longer."""
        rows = tuple(Micro(_cut(row.lengths, tokens), row.learned, _cut(row.looked, tokens)) for row in self.rows)
        return self.model_copy(update={"rows": rows})


def _cut(lengths: Sequence[int], tokens: int) -> tuple[int, ...]:
    return tuple(min(length, tokens) for length in lengths)


class Proposal(Record):
    """A change that would make a training fit."""

    change: str
    total_bytes: int


def needed(planned: Planned, machine: Machine, choice: Choice = ONE, factor: float = 1.0) -> Memory:
    """Memory that each process of a training needs on a machine."""
    return needed_with(planned, planned.decisions(machine, choice), planned.steps(), factor)


def needed_with(
    planned: Planned, decisions: Decisions, steps: Sequence[Sequence[Micro]], factor: float = 1.0
) -> Memory:
    """As `needed`, where decisions and steps are known."""
    load = load_of(planned.recipe, planned.shape, decisions)
    micro = largest(steps, lambda micro: memory_weight(micro, load))
    shapes = len({positions(micro, load.packed) for step in steps for micro in step})
    return memory_of(planned.recipe, planned.shape, planned.parameters, decisions, micro, factor, max(1, shapes))


def memory_weight(micro: Micro, load: Load) -> float:
    """What orders micro-batches by the memory they need."""
    return positions(micro, load.packed) + 1e-15 * flops(micro, load)


def refuse_if_too_large(memory: Memory, planned: Planned, machine: Machine, choice: Choice = ONE) -> None:
    """Let a training start only where it fits. `memory` includes what the process has already; so must the limit.

    Raises:
        BudgetRefused: with changes that would make it fit, each with its figure.
    """
    limit = machine.free_bytes
    if memory.total <= limit:
        return
    device = "GPU" if machine.cuda else "machine"
    found = proposals(planned, machine, choice)
    raise BudgetRefused(
        f"the training needs about {gigabytes(memory.total)}, the {device} has {gigabytes(limit)} free",
        where="memory",
        why=in_words(memory),
        remedy=" - or ".join(f"{p.change} (about {gigabytes(p.total_bytes)})" for p in found)
        or f"train a smaller base model or on a larger {device}: nothing that train can change is enough",
    )


def proposals(planned: Planned, machine: Machine, choice: Choice = ONE) -> list[Proposal]:
    """Changes after which the training fits, those that change the least first."""
    found: list[Proposal] = []
    for change, other in _changes(planned):
        try:
            total = needed(other, machine, choice).total
        except TuneloopError:  # values that contradict what a person gave are no proposal
            continue
        if total <= machine.free_bytes and not any(change.startswith(p.change) for p in found):
            found.append(Proposal(change=change, total_bytes=total))
    return found


def _changes(planned: Planned) -> Iterator[tuple[str, Planned]]:
    recipe = planned.recipe
    smaller = _halves(recipe.micro_batch_rows)
    again = {"activation_checkpointing": "on"}
    nf4 = {"adapter": "qlora", "expand_nf4": "off", "fused_layers": "auto"}
    for rows in smaller:
        yield f"train.micro_batch_rows: {rows} at the same batch", planned.changed(micro_batch_rows=rows)
    yield "train.activation_checkpointing: on", planned.changed(**again)
    words = "train.adapter: qlora with train.expand_nf4: off"
    if recipe.adapter != "qlora" or recipe.expand_nf4 != "off":
        yield words, planned.changed(**nf4)
    longest = max((n for row in planned.rows for n in (*row.lengths, *row.looked)), default=0)
    for share in _SHORTER:
        tokens = max(16, int(longest * share))
        yield f"checks.max_tokens: {tokens} (rows up to now: {longest})", planned.shortened(tokens)
    one = smaller[-1:] or [recipe.micro_batch_rows]
    both = f"train.micro_batch_rows: {one[0]} with train.activation_checkpointing: on"
    yield both, planned.changed(micro_batch_rows=one[0], **again)
    yield f"{words}, {both}", planned.changed(micro_batch_rows=one[0], **again, **nf4)


def _halves(rows: int) -> list[int]:
    found = []
    while rows > 1:
        rows //= 2
        found.append(rows)
    return found


def gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB"


def in_words(memory: Memory) -> str:
    """`weights 14.2 GB, activations 3.1 GB, ...`: the largest parts first."""
    parts = sorted(memory.model_dump().items(), key=lambda part: -part[1])
    return ", ".join(f"{name} {gigabytes(count)}" for name, count in parts if count >= 5e7)
