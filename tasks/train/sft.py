"""Supervised fine-tuning: cross-entropy of the learned tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tasks.contracts import Row
from tasks.tokens import Encoded
from tasks.train.data import IGNORED, collate, encode_rows
from tasks.train.objective import Objective
from tasks.train.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor


class Supervised(Objective[Encoded]):
    """Learn the answers of the rows."""

    unit = "tokens"

    def __init__(self, recipe: Recipe, max_tokens: int, pad: int) -> None:
        self.recipe, self.max_tokens, self.pad = recipe, max_tokens, pad

    def examples(self, tokenizer: Any, rows: Sequence[Row]) -> list[Encoded]:
        return encode_rows(tokenizer, rows, self.recipe, self.max_tokens)

    def tokens(self, example: Encoded) -> int:
        return len(example.input_ids)

    def units(self, example: Encoded) -> int:
        return sum(example.learned[1:])

    def batch(self, examples: Sequence[Encoded]) -> dict[str, Tensor]:
        return collate(examples, self.pad)

    def loss(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        """Summed cross-entropy of the learned tokens; states of all others never meet the vocabulary."""
        from tasks.train.fused import AnswerLoss, apply

        causal = model.get_base_model()
        ids, targets = batch["input_ids"].to(model.device), batch["labels"][:, 1:].to(model.device)
        wanted = targets != IGNORED
        hidden = causal.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state[:, :-1][wanted]
        return apply(AnswerLoss, hidden, causal.get_output_embeddings().weight, targets[wanted])
