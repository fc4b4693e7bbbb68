from __future__ import annotations

from pathlib import Path

import pytest

from tasks.adapters.store import Store
from tasks.contracts import Message
from tasks.tokens import encode_example, load_tokenizer
from tasks.version.preview import learned_pieces, sample
from tests.tasks.version.versions import some_rows, versioned


def test_the_same_seed_draws_the_same_rows(home: Path) -> None:
    store, address = Store.open(), versioned(some_rows(50)).address
    drawn = [[row.row_id for row in sample(address, store, rows=5, split=None, seed=seed)] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 5
    first = versioned(some_rows(50)[:49])
    assert len(set(drawn[0]) & {r.row_id for r in sample(first.address, store, rows=5, split=None, seed=0)}) >= 4


@pytest.mark.parametrize(("split", "count"), [("train", 40), ("test", 10), (None, 50)])
def test_rows_of_one_split(home: Path, split: str | None, count: int) -> None:
    made = versioned(some_rows(50))
    rows = sample(made.address, Store.open(), rows=1000, split=split, seed=0)  # type: ignore[arg-type]
    assert len(rows) == count
    assert {row.split for row in rows} == ({split} if split else {"train", "test"})


def test_the_pieces_are_what_is_trained_on(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    turns = [
        Message(role="user", content="What is the capital of France?"),
        Message(role="assistant", content="Paris."),
    ]
    pieces = learned_pieces(tokenizer, turns)
    assert [piece.learned for piece in pieces] == [False, True]
    assert pieces[0].text == "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    assert pieces[1].text == "Paris.<|im_end|>"
    encoded = encode_example(tokenizer, turns)
    assert sum(p.tokens for p in pieces) == len(encoded.input_ids)
    assert pieces[1].tokens == sum(encoded.learned)


def test_loss_on_everything_but_the_first_token(tiny_model: Path) -> None:
    turns = [Message(role="user", content="Q"), Message(role="assistant", content="A")]
    first, rest = learned_pieces(load_tokenizer(tiny_model), turns, "all")
    assert (first.tokens, first.learned, rest.learned) == (1, False, True)
