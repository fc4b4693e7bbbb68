"""Training rows as token ids with the mask of what is learned."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tasks.contracts import Row
from tasks.errors import TrainingFailed, UsageError
from tasks.tokens import Encoded, encode_example
from tasks.train.plan import sampled_rows
from tasks.train.recipe import Recipe

IGNORED = -100  # label of a token that is not learned


def read_rows(path: Path, expected: int | None = None) -> list[Row]:
    """All rows of a JSONL file of rows.

    Args:
        expected: how many there have to be; None: not known.

    Raises:
        TrainingFailed: a line is no row, or rows are missing; what a line says is not repeated.
    """
    with path.open(encoding="utf-8") as lines:
        rows = [_read_row(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if expected is not None and len(rows) != expected:
        raise TrainingFailed(
            "training rows are missing",
            where=str(path),
            why=f"it holds {len(rows)} rows, the dataset version has {expected}",
            remedy="prepare the dataset again; `tuneloop data verify` says which of its files were changed",
            code="TL-TRAIN-DATA",
        )
    return rows


def _read_row(path: Path, number: int, line: str) -> Row:
    try:
        return Row.model_validate_json(line)
    except ValidationError as error:
        fields = {".".join(map(str, each["loc"])) or "the whole line" for each in error.errors(include_input=False)}
        raise TrainingFailed(
            "a training row cannot be read",
            where=f"{path}:{number}",
            why=f"not of the form that rows have: {', '.join(sorted(fields)[:3])}",
            remedy="prepare the dataset again; `tuneloop data verify` says which of its files were changed",
            code="TL-TRAIN-DATA",
        ) from None  # the cause holds what the row says


def encode_rows(tokenizer: Any, rows: Sequence[Row], config: Recipe, max_tokens: int) -> list[Encoded]:
    """Examples of the rows, in order.

    Raises:
        TrainingFailed: a row without a learned token, or one longer than the model or `sequence_tokens` allows.
    """
    return [_encode_row(tokenizer, row, config, max_tokens) for row in rows]


def chosen_rows(rows: Sequence[Row], config: Recipe) -> list[Row]:
    """The rows that are trained on: all, or a seeded sample.

    Raises:
        TrainingFailed: there are none.
    """
    if not rows:
        raise TrainingFailed("there are no training rows", remedy="add data, or hold out a smaller share")
    return [rows[i] for i in sampled_rows(len(rows), config.max_rows, config.seed)]


def _encode_row(tokenizer: Any, row: Row, config: Recipe, max_tokens: int) -> Encoded:
    if not row.answer and not (row.messages and row.messages[-1].tool_calls):
        raise TrainingFailed(
            "a training row has nothing to learn",
            where=f"row {row.row_id}",
            why="it has no answer",
            remedy="prepare the dataset again: such rows are quarantined when it is made",
            code="TL-TRAIN-DATA",
        )
    try:
        example = encode_example(tokenizer, row.messages, config.loss_on, row.tools)
    except UsageError as error:
        raise TrainingFailed(
            error.what, where=f"row {row.row_id}", why=error.why, remedy=error.remedy, code="TL-TRAIN-DATA"
        ) from error
    limit = min(max_tokens, config.sequence_tokens or max_tokens)
    if len(example.input_ids) > limit:
        own = limit < max_tokens
        raise TrainingFailed(
            f"a training row is longer than {'train.sequence_tokens' if own else 'the model can read'}",
            where=f"row {row.row_id}",
            why=f"{len(example.input_ids)} tokens, {limit} are possible",
            remedy="lower checks.max_tokens, so that long rows are quarantined"
            + (", or raise train.sequence_tokens" if own else ""),
            code="TL-TRAIN-DATA",
        )
    return example


def collate(examples: Sequence[Encoded], pad: int) -> dict[str, Any]:
    """One micro-batch, padded on the right: ids, and labels that are IGNORED where nothing is learned.

    A causal model never looks ahead, so what is padded on the right needs no attention mask.
    """
    import torch

    width = max(len(e.input_ids) for e in examples)
    ids = torch.full((len(examples), width), pad)
    labels = torch.full((len(examples), width), IGNORED)
    for i, example in enumerate(examples):
        length = len(example.input_ids)
        ids[i, :length] = torch.tensor(example.input_ids)
        labels[i, :length] = torch.where(torch.tensor(example.learned), ids[i, :length], IGNORED)
    return {"input_ids": ids, "labels": labels}


def sequences_of(example: Any) -> list[Encoded]:
    """The token sequences of an example, whatever its method made of it."""
    if isinstance(example, Encoded):
        return [example]
    if not dataclasses.is_dataclass(example):
        return []
    values = (getattr(example, field.name) for field in dataclasses.fields(example))
    return [value for value in values if isinstance(value, Encoded)]
