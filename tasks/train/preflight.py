"""Checks on the real tokens before the first step, and on the first losses: a training that cannot teach what the rows
say stops here, with the row and the reason, instead of ending in a model that learned something else.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from tasks.contracts import Row
from tasks.errors import TrainingFailed
from tasks.tokens import Encoded, stop_token_id
from tasks.train.data import sequences_of
from tasks.train.kto import Judged
from tasks.train.recipe import Recipe

FIRST_STEPS = 3
_ROUND_TRIPS = 500  # rows that are read back; what a template does wrong it does in every row
_PREPARE = "prepare the dataset again: such rows are quarantined when it is made"


def check(tokenizer: Any, rows: Sequence[Row], examples: Sequence[Any], recipe: Recipe, max_tokens: int) -> None:
    """Let a training start only with rows that teach what they say.

    Args:
        rows: the rows that are trained on.
        examples: of the rows, in order, as the method made them: token ids, or records with several of them.
        max_tokens: longest sequence that the model can read.

    Raises:
        TrainingFailed: names the row.
    """
    if not rows or not examples:
        raise TrainingFailed("there are no training rows", remedy="add data, or keep a smaller share for validation")
    each = len(examples) // len(rows)  # a method may make several examples of a row
    every = max(1, len(rows) // _ROUND_TRIPS)
    for number, row in enumerate(rows):
        sequences = [s for e in examples[number * each : (number + 1) * each] for s in _said_by_row(e)]
        reasons = [*_pair_reasons(row, recipe)]
        for sequence in sequences:
            reasons += _sequence_reasons(tokenizer, sequence, recipe, max_tokens)
        if sequences and not reasons and number % every == 0:
            reasons += _round_trip_reasons(tokenizer, row, sequences[0])
        if reasons:
            raise TrainingFailed("a training row does not teach what it should", where=f"row {row.row_id}",
                                 why="; ".join(dict.fromkeys(reasons)), remedy=_PREPARE)  # fmt: skip


def _said_by_row(example: Any) -> list[Encoded]:
    """The sequences that a row itself says. What KTO joins out of two rows is cut where it is made, and says nothing
    of the row: each of its halves is checked with its own.
    """
    return [example.answer, example.other] if isinstance(example, Judged) else sequences_of(example)


def _pair_reasons(row: Row, recipe: Recipe) -> Iterator[str]:
    if recipe.method not in ("dpo", "ipo", "kto"):
        return
    if not row.rejected.strip():
        yield f"it has no rejected answer, and {recipe.method} learns from pairs"
    elif row.rejected.strip() == row.answer.strip():
        yield "its chosen and its rejected answer are the same"


def _sequence_reasons(tokenizer: Any, example: Encoded, recipe: Recipe, max_tokens: int) -> Iterator[str]:
    """What is wrong with one sequence."""
    ids, learned = example.input_ids, example.learned
    limit = min(max_tokens, recipe.sequence_tokens or max_tokens)
    if len(ids) > limit:
        name = "train.sequence_tokens" if limit < max_tokens else "the model's longest sequence"
        yield f"it has {len(ids)} tokens, and {name} is {limit}"
    if tokenizer.bos_token_id is not None and ids[:2] == [tokenizer.bos_token_id] * 2:
        yield "its beginning-of-sequence token stands twice"
    if recipe.method == "grpo":  # learns from answers that it makes itself
        return
    if not any(learned[1:]):
        yield "none of its tokens is learned"
    elif ids[len(learned) - 1 - learned[::-1].index(True)] != stop_token_id(tokenizer):
        yield "the token that ends its answer is not learned, so the model would never stop"
    unknown = {tokenizer.unk_token_id} - {stop_token_id(tokenizer)}  # some models have one token for both
    if unknown & {token for token, counts in zip(ids, learned, strict=True) if counts}:
        yield "its answer has characters that the tokenizer does not know"


def _round_trip_reasons(tokenizer: Any, row: Row, example: Encoded) -> Iterator[str]:
    """Whether all turns can be read back from the tokens, in order, blanks and forms of one character aside."""
    text = _bare(tokenizer.decode(example.input_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
    place = 0
    for turn, message in enumerate(row.messages, start=1):
        found = text.find(_bare(message.content), place)
        if found < 0:
            yield f"turn {turn} ({message.role}) cannot be read back from its tokens: template or tokenizer change it"
            return
        place = found + len(_bare(message.content))


def _bare(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).split())


def first_loss_refusal(losses: Sequence[float], vocabulary: int) -> str | None:
    """Why the losses of the first steps say that something is wrong before learning began; None if nothing does.

    A model that knows nothing guesses among all tokens: ln(vocabulary). One far above was not loaded as it was trained;
    a loss of exactly zero has nothing to learn. Later losses are judged against the first (`explosion`).

    Args:
        losses: mean loss of each of the first steps, in nats a token.
        vocabulary: number of tokens that the model knows.
    """
    limit = 1.5 * math.log(vocabulary)
    for step, loss in enumerate(losses, start=1):
        if not math.isfinite(loss):
            return f"the loss of step {step} is {loss}"
    if losses and losses[0] > limit:
        return f"the first loss is {losses[0]:.2f}, above {limit:.2f}: a model that guesses has {limit / 1.5:.2f}"
    if losses and all(loss == 0 for loss in losses):
        return "the loss is exactly zero: nothing is learned"
    return None


def refuse_first_losses(losses: Sequence[float], vocabulary: int) -> None:
    """Stop a training whose first losses are out of bounds.

    Raises:
        TrainingFailed: with the reason.
    """
    reason = first_loss_refusal(losses[:FIRST_STEPS], vocabulary)
    if reason and len(losses) <= FIRST_STEPS:
        raise TrainingFailed("the loss of the first steps is out of bounds", where=f"step {len(losses)}", why=reason,
                             remedy="check that the base model answers as it should: `tuneloop doctor`, or another "
                             "model.base")  # fmt: skip
