"""Look at rows: a sample of a version, and which tokens of a row will be learned."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from tasks.adapters.store import Store
from tasks.contracts import Message, Row, Split
from tasks.tokens import LossOn, encode_example
from tasks.version.catalog import find, rows_path
from tasks.version.content import row_digest
from tasks.version.lines import placed, rows_at


class Piece(NamedTuple):
    """Neighbouring tokens that are all learned, or all only read."""

    text: str
    tokens: int
    learned: bool


def sample(address: str, store: Store, *, rows: int, split: Split | None, seed: int) -> list[Row]:
    """Some kept rows, drawn by a hash of seed and content: the same seed always shows the same rows."""
    path = rows_path(find(address), store)
    drawn = (
        (rank(seed, row_digest(row)), place)
        for place, row in placed(path)
        if row.outcome == "kept" and split in (None, row.split)
    )
    chosen = [place for _, place in heapq.nsmallest(rows, drawn)]
    return list(rows_at(path, chosen))


def rank(seed: int, digest: str) -> int:
    """A number that depends on nothing but seed and content, uniform over contents: the lowest are drawn first."""
    return int.from_bytes(sha256(f"{seed}\0{digest}".encode()).digest()[:8], "big")


def learned_pieces(
    tokenizer: Any, messages: Sequence[Message], loss_on: LossOn = "completion", tools: str = ""
) -> list[Piece]:
    """A conversation as the model gets it, template included, in pieces that are learned or not."""
    encoded = encode_example(tokenizer, messages, loss_on, tools)
    pieces: list[Piece] = []
    start = 0
    for end in range(1, len(encoded.input_ids) + 1):
        if end == len(encoded.input_ids) or encoded.learned[end] != encoded.learned[start]:
            text = tokenizer.decode(encoded.input_ids[start:end], clean_up_tokenization_spaces=False)
            pieces.append(Piece(str(text), end - start, encoded.learned[start]))
            start = end
    return pieces
