"""One micro-batch as tensors: padded on the right, or as one sequence without padding.

Either form is a dictionary with ids and labels; a packed one also has the positions and the lengths of its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tasks.tokens import Encoded
from tasks.train.data import IGNORED

if TYPE_CHECKING:
    from torch import Tensor

LENGTHS = "lengths"


def packed(examples: Sequence[Encoded]) -> dict[str, Tensor]:
    """All rows one after another, short ones first: ids, labels and positions of shape (1, tokens), and the lengths.

    The first token of a row is never learned: what stands before it belongs to another row.
    """
    import torch

    rows = sorted(examples, key=lambda example: len(example.input_ids))
    lengths = [len(row.input_ids) for row in rows]
    ids = torch.tensor([token for row in rows for token in row.input_ids])
    learned = torch.tensor([flag and at > 0 for row in rows for at, flag in enumerate(row.learned)])
    positions = torch.cat([torch.arange(length) for length in lengths])
    return {
        "input_ids": ids[None],
        "labels": torch.where(learned, ids, IGNORED)[None],
        "position_ids": positions[None],
        LENGTHS: torch.tensor(lengths),
    }


def is_packed(batch: dict[str, Any]) -> bool:
    return LENGTHS in batch
