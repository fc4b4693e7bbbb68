"""Learning which of two answers is better: DPO and IPO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.contracts import Message, Row
from tasks.errors import TrainingFailed
from tasks.tokens import Encoded, encode_example
from tasks.train.data import collate
from tasks.train.objective import Micro, Objective
from tasks.train.preference_reference import batches, reference_log_probs, sequence_key
from tasks.train.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Pair:
    """A prompt with the answer that was chosen, and with the one that was not."""

    chosen: Encoded
    rejected: Encoded


class Preferences(Objective[Pair]):
    """Raise the chosen answer over the rejected one, measured from where the model stands before training."""

    unit = "pairs"
    measured = ("preference_accuracy", "preference_accuracy_per_token", "reward_accuracy", "margin")

    def __init__(self, recipe: Recipe, max_tokens: int, pad: int) -> None:
        self.recipe, self.max_tokens, self.pad = recipe, max_tokens, pad
        self.reference: dict[str, float] = {}

    def examples(self, tokenizer: Any, rows: Sequence[Row]) -> list[Pair]:
        return [encode_pair(tokenizer, row, self.max_tokens) for row in rows]

    def tokens(self, example: Pair) -> int:
        return len(example.chosen.input_ids) + len(example.rejected.input_ids)

    def computed(self, example: Pair) -> Micro:
        sides = (example.chosen, example.rejected)
        return Micro(tuple(len(side.input_ids) for side in sides), sum(sum(side.learned[1:]) for side in sides))

    def units(self, example: Pair) -> int:  # noqa: ARG002 (each counts as much)
        return 1

    def prepare(self, model: Any, examples: Sequence[Pair], folder: Path) -> None:
        sequences = [side for pair in examples for side in (pair.chosen, pair.rejected)]
        self.reference |= reference_log_probs(model, sequences, lambda rows: collate(rows, self.pad), folder)

    def batch(self, examples: Sequence[Pair]) -> dict[str, Tensor]:
        """The chosen answers of all pairs, then the rejected ones, with the reference of each."""
        import torch

        sides = [pair.chosen for pair in examples] + [pair.rejected for pair in examples]
        reference = torch.tensor([self.reference[sequence_key(side)] for side in sides])
        return collate(sides, self.pad) | {"reference": reference}

    def loss(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        from tasks.train import preference_losses

        sums, counts = _log_probs(model, batch)
        (chosen, rejected), (chosen_tokens, rejected_tokens) = (
            (sums - batch["reference"].to(sums.device)).chunk(2),
            counts.chunk(2),
        )
        if self.recipe.method == "ipo":
            losses = preference_losses.ipo(chosen, rejected, chosen_tokens, rejected_tokens, self.recipe.beta)
        else:
            losses = preference_losses.dpo(chosen, rejected, self.recipe.beta)
        return losses.sum()

    def measures(self, model: Any, examples: Sequence[Pair]) -> dict[str, float]:
        """Of pairs that were not learned: how often the chosen answer is the likelier one, and by how much.

        preference_accuracy compares summed log-probabilities, preference_accuracy_per_token their means over the
        answers' tokens; reward_accuracy and margin compare what training changed in them, in units of beta.
        """
        import torch

        if not examples:
            return {}
        training = model.training
        model.eval()
        found: list[Tensor] = []
        with torch.no_grad():
            for rows in batches([self.tokens(pair) for pair in examples]):
                batch = self.batch([examples[row] for row in rows])
                sums, counts = _log_probs(model, batch)
                moved = sums - batch["reference"].to(sums.device)
                found.append(torch.stack([_gap(sums), _gap(sums / counts), self.recipe.beta * _gap(moved)]).cpu())
        model.train(training)
        plain, by_token, margin = torch.cat(found, dim=1)
        return {
            "preference_accuracy": float((plain > 0).float().mean()),
            "preference_accuracy_per_token": float((by_token > 0).float().mean()),
            "reward_accuracy": float((margin > 0).float().mean()),
            "margin": float(margin.mean()),
        }


def _log_probs(model: Any, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    from tasks.train.log_probs import answer_log_probs

    return answer_log_probs(model, batch["input_ids"], batch["labels"])


def _gap(values: Tensor) -> Tensor:
    chosen, rejected = values.chunk(2)
    return chosen - rejected


def encode_pair(tokenizer: Any, row: Row, max_tokens: int) -> Pair:
    """Both answers of a row after its prompt; only the answers are learned.

    Raises:
        TrainingFailed: the row has no second answer, both are the same, or one is longer than the model can read.
    """
    if not row.answer or not row.rejected:
        raise _unusable(row, "it has no rejected answer" if row.answer else "it has no chosen answer")
    rejected = (*row.prompt, Message(role="assistant", content=row.rejected))
    pair = Pair(*(encode_example(tokenizer, messages, tools=row.tools) for messages in (row.messages, rejected)))
    if pair.chosen.input_ids == pair.rejected.input_ids:
        raise _unusable(row, "both answers are the same")
    longest = max(len(side.input_ids) for side in (pair.chosen, pair.rejected))
    if longest > max_tokens:
        raise TrainingFailed(
            "a preference pair is longer than the model can read",
            where=f"row {row.row_id}",
            why=f"{longest} tokens, the model reads {max_tokens}",
            remedy="lower checks.max_tokens, so that long rows are quarantined",
        )
    return pair


def _unusable(row: Row, why: str) -> TrainingFailed:
    return TrainingFailed(
        "a training row is no preference pair",
        where=f"row {row.row_id}",
        why=why,
        remedy="train.method dpo, ipo and kto need rows with a chosen and a rejected answer; use sft for plain rows",
    )
