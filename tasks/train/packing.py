"""Several rows in one sequence, isolated from one another: nothing is padded, and no row sees another.

The rows of a planned micro-batch lie one after another in a single sequence; positions start again with every row.
Where layers are fused, attention runs row by row (`Segments`): a score between two rows is never computed at all.
Other layers get the same rule as a mask of blocks, or as the lengths that FlashAttention takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tasks.train.fused import Chosen, apply

_PADDED_SHARE = 0.15  # a group takes shorter rows as long as less than this share of its scores is padding


@dataclass(frozen=True)
class Group:
    """Neighbouring rows of similar length whose attention is computed together, padded to the longest."""

    rows: int
    length: int
    tokens: int
    padded: Tensor | None  # (rows * length): for each place its token; None: all rows are equally long
    real: Tensor | None  # (tokens): for each token its place


@dataclass(frozen=True)
class Segments:
    """Where the rows of a pack lie, and how their attention is grouped."""

    lengths: tuple[int, ...]
    groups: tuple[Group, ...]


def segments_of(lengths: Sequence[int]) -> Segments:
    """The rows of a pack, in order. Rows sorted by length make the fewest groups."""
    groups, begin = [], 0
    while begin < len(lengths):
        end = _end_of_group(lengths, begin)
        groups.append(_group(lengths[begin:end]))
        begin = end
    return Segments(tuple(lengths), tuple(groups))


def _end_of_group(lengths: Sequence[int], begin: int) -> int:
    """First row that does not belong to the group which starts at `begin`."""
    longest, used = 0, 0
    for end in range(begin, len(lengths)):
        longest, used = max(longest, lengths[end]), used + lengths[end] ** 2
        if used < (1 - _PADDED_SHARE) * longest**2 * (end + 1 - begin):
            return end
    return len(lengths)


def _group(lengths: Sequence[int]) -> Group:
    rows, length, tokens = len(lengths), max(lengths), sum(lengths)
    if rows * length == tokens:
        return Group(rows, length, tokens, None, None)
    sizes = torch.tensor(lengths)
    first = torch.cat((torch.zeros(1, dtype=torch.long), sizes.cumsum(0)[:-1]))
    place = torch.arange(length)
    padded = (first[:, None] + torch.minimum(place, sizes[:, None] - 1)).flatten()  # a row's last token fills it up
    real = (place < sizes[:, None]).flatten().nonzero().squeeze(1)
    return Group(rows, length, tokens, padded, real)


class Padded(torch.autograd.Function):
    """Tokens of a group (tokens, ...) → (rows, length, ...). What fills a row up comes after all that is real in it.

    In causal attention no real token looks there, so the gradient of what was filled up is zero and is not gathered.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return x.index_select(0, _there(group.padded, x)).view(group.rows, group.length, *x.shape[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return grad.reshape(-1, *grad.shape[2:]).index_select(0, _there(ctx.group.real, grad)), None


def _there(places: Tensor | None, x: Tensor) -> Tensor:
    if places is None:
        raise ValueError("a group of equally long rows is not padded")
    return places.to(x.device)


def by_row(x: Tensor, group: Group) -> Tensor:
    """The tokens of a group (tokens, ...), as (rows, length, ...)."""
    if group.padded is None:
        return x.view(group.rows, group.length, *x.shape[1:])
    return apply(Padded, x, group)


def by_token(x: Tensor, group: Group) -> Tensor:
    """Undoes `by_row`: (rows, length, ...) → (tokens, ...)."""
    tokens = x.flatten(0, 1)
    return tokens if group.padded is None else apply(Chosen, tokens, _there(group.real, x))


def block_mask(lengths: Sequence[int]) -> Tensor:
    """(tokens, tokens): whether a token (line) may look at another (column): itself, or one before it in its row."""
    rows = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    return (rows[:, None] == rows[None, :]).tril()


def mask_as_text(mask: Tensor) -> str:
    """A mask as people see it: `■` where a token may look, `·` where not."""
    return "\n".join(" ".join("■" if seen else "·" for seen in line) for line in mask.tolist())
