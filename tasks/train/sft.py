"""Supervised fine-tuning: cross-entropy of the learned tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tasks.contracts import Row
from tasks.tokens import Encoded
from tasks.train.batches import packed
from tasks.train.data import collate, encode_rows
from tasks.train.objective import Micro, Objective
from tasks.train.plan import Decisions
from tasks.train.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor


class Supervised(Objective[Encoded]):
    """Learn the answers of the rows."""

    unit = "tokens"

    def __init__(self, recipe: Recipe, max_tokens: int, pad: int) -> None:
        self.recipe, self.max_tokens, self.pad = recipe, max_tokens, pad
        self.packs = self.learned_head = False

    def decided(self, decisions: Decisions) -> None:
        """Whether rows share a sequence, and whether only learned tokens meet the vocabulary."""
        self.packs = decisions.packing.value == "on"
        self.learned_head = decisions.learned_head.value == "on"

    def examples(self, tokenizer: Any, rows: Sequence[Row]) -> list[Encoded]:
        return encode_rows(tokenizer, rows, self.recipe, self.max_tokens)

    def tokens(self, example: Encoded) -> int:
        return len(example.input_ids)

    def computed(self, example: Encoded) -> Micro:
        return Micro((len(example.input_ids),), sum(example.learned[1:]))

    def units(self, example: Encoded) -> int:
        return sum(example.learned[1:])

    def batch(self, examples: Sequence[Encoded]) -> dict[str, Tensor]:
        return packed(examples) if self.packs else collate(examples, self.pad)

    def loss(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        """Summed cross-entropy of the learned tokens."""
        from tasks.train.forward import answer_loss, whole_loss

        return answer_loss(model, batch) if self.learned_head else whole_loss(model, batch)
