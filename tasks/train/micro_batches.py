"""Which rows a step computes together, by their lengths. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tasks.train.recipe import Recipe

_LENGTH_POOL_BATCHES = 8  # rows of this many batches are sorted by length together: little padding, still shuffled


def batches_of_similar_length(lengths: Sequence[int], size: int, chance: random.Random) -> list[list[int]]:
    """All rows once, in batches of `size`: rows of similar length together, so that little is padded, and shuffled."""
    order = list(range(len(lengths)))
    chance.shuffle(order)
    pool = size * _LENGTH_POOL_BATCHES
    batches = []
    for start in range(0, len(order), pool):
        rows = sorted(order[start : start + pool], key=lambda row: lengths[row])
        batches += [rows[at : at + size] for at in range(0, len(rows), size)]
    return batches


def micro_batches(batch: Sequence[int], lengths: Sequence[int], config: Recipe) -> tuple[tuple[int, ...], ...]:
    """Parts of a batch of at most `micro_batch_rows` rows, and of at most `sequence_tokens` tokens in one sequence.

    Whether rows share a sequence is decided on the machine, and the plan has to be the same on all of them: where they
    might, parts are cut as if they did, which the decision on packing says.
    """
    limit = config.sequence_tokens if _may_pack(config) else None
    micro: list[list[int]] = []
    used = 0
    for row in batch:
        full = not micro or len(micro[-1]) == config.micro_batch_rows
        if full or (limit is not None and used + lengths[row] > limit):
            micro.append([])
            used = 0
        micro[-1].append(row)
        used += lengths[row]
    return tuple(tuple(part) for part in micro)


def _may_pack(config: Recipe) -> bool:
    return config.method == "sft" and config.packing != "off"
