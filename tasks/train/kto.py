"""Learning from single answers that are wanted or not: KTO. Each preference pair gives one of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.contracts import Row
from tasks.errors import TrainingFailed
from tasks.tokens import Encoded
from tasks.train.data import collate
from tasks.train.objective import Micro, Objective
from tasks.train.preference import Pair, Preferences, encode_pair
from tasks.train.preference_reference import reference_log_probs, sequence_key
from tasks.train.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Judged:
    """One answer, whether it is wanted, its prompt with an answer to another one, and the other answer of its pair."""

    answer: Encoded
    desirable: bool
    mismatched: Encoded
    other: Encoded


class Kto(Objective[Judged]):
    """Raise wanted answers and lower unwanted ones, from where the model stands before training.

    How far the model has moved as a whole (the paper's z0) is estimated in each micro-batch from answers to other
    prompts. Which other prompt that is, is fixed with the data: the next row's. A prompt and an answer that were never
    together may be longer than any row: the answer is cut, as TRL's trainer does it, and no row is refused for it.
    """

    unit = "answers"
    measured = Preferences.measured

    def __init__(self, recipe: Recipe, max_tokens: int, pad: int) -> None:
        self.recipe, self.max_tokens, self.pad = recipe, max_tokens, pad
        self.reference: dict[str, float] = {}

    def examples(self, tokenizer: Any, rows: Sequence[Row]) -> list[Judged]:
        if len(rows) == 1:
            raise TrainingFailed(
                "kto needs at least two rows",
                why="how far the model moves is estimated with answers to other prompts",
                remedy="add data, raise train.validation_share if it leaves one row, or train with dpo",
            )
        pairs = [encode_pair(tokenizer, row, self.max_tokens) for row in rows]
        limit = min(self.max_tokens, self.recipe.sequence_tokens or self.max_tokens)
        judged = []
        for pair, following in zip(pairs, [*pairs[1:], *pairs[:1]], strict=True):
            chosen, rejected = (_swapped(pair.chosen, other, limit) for other in (following.chosen, following.rejected))
            judged.append(Judged(pair.chosen, True, chosen, pair.rejected))
            judged.append(Judged(pair.rejected, False, rejected, pair.chosen))
        return judged

    def tokens(self, example: Judged) -> int:
        return len(example.answer.input_ids) + len(example.mismatched.input_ids)

    def computed(self, example: Judged) -> Micro:
        """The other answer of the pair is an example of its own, and of the mismatched one no gradient is taken."""
        answer = example.answer
        return Micro((len(answer.input_ids),), sum(answer.learned[1:]), (len(example.mismatched.input_ids),))

    def units(self, example: Judged) -> int:  # noqa: ARG002 (each counts as much)
        return 1

    def prepare(self, model: Any, examples: Sequence[Judged], folder: Path) -> None:
        sequences = [part for judged in examples for part in (judged.answer, judged.other, judged.mismatched)]
        self.reference |= reference_log_probs(model, sequences, lambda rows: collate(rows, self.pad), folder)

    def batch(self, examples: Sequence[Judged]) -> dict[str, Tensor]:
        import torch

        answers, others = [e.answer for e in examples], [e.mismatched for e in examples]
        mismatched = collate(others, self.pad)
        return collate(answers, self.pad) | {
            "reference": self._reference_of(answers),
            "desirable": torch.tensor([e.desirable for e in examples]),
            "mismatched_ids": mismatched["input_ids"],
            "mismatched_labels": mismatched["labels"],
            "mismatched_reference": self._reference_of(others),
        }

    def _reference_of(self, sequences: Sequence[Encoded]) -> Tensor:
        import torch

        return torch.tensor([self.reference[sequence_key(sequence)] for sequence in sequences])

    def loss(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        import torch

        from tasks.train.log_probs import answer_log_probs
        from tasks.train.preference_losses import kto

        with torch.no_grad():
            moved, _ = answer_log_probs(model, batch["mismatched_ids"], batch["mismatched_labels"])
            divergence = (moved - batch["mismatched_reference"].to(moved.device)).mean().clamp(min=0)
        sums, _ = answer_log_probs(model, batch["input_ids"], batch["labels"])
        ratios = sums - batch["reference"].to(sums.device)
        return kto(ratios, batch["desirable"].to(sums.device), divergence, self.recipe.beta).sum()

    def measures(self, model: Any, examples: Sequence[Judged]) -> dict[str, float]:
        """As for pairs: of the pairs that the answers come from."""
        pairs = Preferences(self.recipe, self.max_tokens, self.pad)
        pairs.reference = self.reference
        return pairs.measures(model, [Pair(e.answer, e.other) for e in examples if e.desirable])


def _swapped(prompt_of: Encoded, answer_of: Encoded, limit: int) -> Encoded:
    """The prompt of one sequence with the answer of another, cut to `limit` tokens.

    The first token of the answer always stays: it fits where the prompt has an answer of its own, and without it there
    would be nothing to estimate from. Only behind a prompt that fills `limit` itself the sequence is longer: such rows
    are refused where they are learned from, not where they are kept for validation.
    """
    begins, answer = prompt_of.learned.index(True), answer_of.learned.index(True)
    ids = (prompt_of.input_ids[:begins] + answer_of.input_ids[answer:])[: max(limit, begins + 1)]
    return Encoded(input_ids=ids, learned=[position >= begins for position in range(len(ids))])
