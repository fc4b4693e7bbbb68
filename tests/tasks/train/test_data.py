"""Rows become examples, or an error that names the row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.errors import TrainingFailed
from tasks.tokens import Encoded, load_tokenizer
from tasks.train.data import IGNORED, chosen_rows, collate, encode_rows, read_rows
from tasks.train.recipe import Recipe
from tests.tasks.train.training_rows import make_row, make_rows, write_rows


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    return load_tokenizer(tiny_model)


def test_rows_survive_the_file(tmp_path: Path) -> None:
    assert read_rows(write_rows(tmp_path / "rows.jsonl", make_rows(3))) == make_rows(3)


def test_completion_or_all(tokenizer: Any) -> None:
    rows = [make_row(0, "Where?", "Here.")]
    (completion,) = encode_rows(tokenizer, rows, Recipe(), 100)
    (everything,) = encode_rows(tokenizer, rows, Recipe(loss_on="all"), 100)
    assert completion.input_ids == everything.input_ids
    assert sum(completion.learned) < sum(everything.learned) == len(everything.input_ids) - 1


def test_every_answer_with_loss_on_assistant(tokenizer: Any) -> None:
    first, last = make_row(0, "Where?", "Here.").messages, make_row(1, "When?", "Now.").messages
    row = make_row(0, "", "").model_copy(update={"messages": (*first, *last)})
    (one,) = encode_rows(tokenizer, [row], Recipe(), 100)
    (both,) = encode_rows(tokenizer, [row], Recipe(loss_on="assistant"), 100)
    assert one.input_ids == both.input_ids
    learned = [i for i, counts in zip(both.input_ids, both.learned, strict=True) if counts]
    assert tokenizer.decode(learned) == "Here.<|im_end|>Now.<|im_end|>"


def test_a_row_with_tools_that_the_template_does_not_write_is_named(tokenizer: Any) -> None:
    row = make_row(7, "Where?", "Here.").model_copy(update={"tools": '[{"function": {"name": "f"}}]'})
    with pytest.raises(TrainingFailed, match="tool calls") as caught:
        encode_rows(tokenizer, [row], Recipe(), 100)
    assert caught.value.where == "row dddddddddddddddd:7"


def test_sequence_tokens_is_the_longest_row(tokenizer: Any) -> None:
    encode_rows(tokenizer, make_rows(1), Recipe(sequence_tokens=40), 100)
    with pytest.raises(TrainingFailed, match=r"longer than train\.sequence_tokens"):
        encode_rows(tokenizer, make_rows(1), Recipe(sequence_tokens=8), 100)


def test_max_rows_is_a_seeded_sample() -> None:
    some = chosen_rows(make_rows(20), Recipe(max_rows=5))
    assert len(some) == 5
    assert some == chosen_rows(make_rows(20), Recipe(max_rows=5))
    assert some != chosen_rows(make_rows(20), Recipe(max_rows=5, seed=18))


def test_no_rows() -> None:
    with pytest.raises(TrainingFailed, match="no training rows"):
        chosen_rows([], Recipe())


def test_a_row_with_nothing_to_learn_is_an_error(tokenizer: Any) -> None:
    with pytest.raises(TrainingFailed, match="nothing to learn") as caught:
        encode_rows(tokenizer, [make_row(0, "a", "b"), make_row(7, "Where?", "")], Recipe(), 100)
    assert caught.value.where == "row dddddddddddddddd:7"


def test_a_row_the_model_cannot_read_is_an_error(tokenizer: Any) -> None:
    with pytest.raises(TrainingFailed, match="longer than the model can read"):
        encode_rows(tokenizer, make_rows(1), Recipe(), 5)


def test_padding_is_never_learned() -> None:
    batch = collate([Encoded([5, 6, 7], [False, True, True]), Encoded([8], [True])], pad=2)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 2, 2]]
    assert batch["labels"].tolist() == [[IGNORED, 6, 7], [8, IGNORED, IGNORED]]
