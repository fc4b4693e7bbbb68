"""What must not start: rows that teach something else than they say, and first losses out of bounds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tasks.contracts import Row
from tasks.errors import TrainingFailed
from tasks.tokens import Encoded, encode_example, load_tokenizer
from tasks.train.data import encode_rows
from tasks.train.preference import Pair, encode_pair
from tasks.train.preflight import check, first_loss_refusal, refuse_first_losses
from tasks.train.recipe import Recipe
from tasks.train.worker import run_job
from tests.tasks.train.training_rows import make_job, make_row, make_rows

SFT, DPO = Recipe(), Recipe(method="dpo")


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    return load_tokenizer(tiny_model)


def pair(index: int, rejected: str) -> Row:
    return make_row(index, "Where?", "Here.").model_copy(update={"rejected": rejected})


def refused(tokenizer: Any, row: Row, example: Any, recipe: Recipe = SFT, limit: int = 100) -> TrainingFailed:
    good = make_row(0, "a", "b")
    with pytest.raises(TrainingFailed, match="does not teach") as caught:
        check(tokenizer, [good, row], [encode_example(tokenizer, good.messages), example], recipe, limit)
    assert caught.value.where == f"row {row.row_id}"
    return caught.value


def test_good_rows_pass(tokenizer: Any) -> None:
    rows = [*make_rows(5), make_row(9, "a <|im_end|> b", " zwölf\n\nUhr ½ 東京 ")]
    for loss_on in ("completion", "assistant", "all"):
        recipe = Recipe(loss_on=loss_on)
        check(tokenizer, rows, encode_rows(tokenizer, rows, recipe, 500), recipe, 500)
    pairs = [pair(0, "There."), pair(1, "No.")]
    check(tokenizer, pairs, [encode_pair(tokenizer, row, 100) for row in pairs], DPO, 100)


def test_no_rows_at_all(tokenizer: Any) -> None:
    with pytest.raises(TrainingFailed, match="no training rows"):
        check(tokenizer, [], [], Recipe(), 100)


def test_a_row_whose_labels_would_all_be_masked_stops_the_run(tokenizer: Any) -> None:
    row = make_row(7, "Where?", "Here.")
    ids = encode_example(tokenizer, row.messages).input_ids
    assert "none of its tokens is learned" in refused(tokenizer, row, Encoded(ids, [False] * len(ids))).why
    first_only = Encoded(ids, [True] + [False] * (len(ids) - 1))  # nothing predicts the first token
    assert "none of its tokens is learned" in refused(tokenizer, row, first_only).why


def test_the_end_of_an_answer_must_be_learned(tokenizer: Any) -> None:
    row = make_row(7, "Where?", "Here.")
    whole = encode_example(tokenizer, row.messages)
    endless = Encoded(whole.input_ids, [*whole.learned[:-1], False])
    assert "would never stop" in refused(tokenizer, row, endless).why


def test_a_doubled_beginning_is_refused(tokenizer: Any) -> None:
    row = make_row(7, "Where?", "Here.")
    whole = encode_example(tokenizer, row.messages)
    doubled = Encoded([tokenizer.bos_token_id, *whole.input_ids], [False, *whole.learned])
    assert "stands twice" in refused(tokenizer, row, doubled).why


def test_long_sequences_name_the_limit(tokenizer: Any) -> None:
    row = make_row(7, "Where? " * 20, "Here.")
    example = encode_example(tokenizer, row.messages)
    assert "the model's longest sequence is 20" in refused(tokenizer, row, example, limit=20).why
    assert "train.sequence_tokens is 30" in refused(tokenizer, row, example, Recipe(sequence_tokens=30)).why


def test_a_changed_text_does_not_come_back(tokenizer: Any) -> None:
    row = make_row(7, "Where?", "Here.")
    other = encode_example(tokenizer, make_row(8, "Where?", "There.").messages)
    assert "turn 2 (assistant) cannot be read back" in refused(tokenizer, row, other).why


def test_unknown_characters_in_an_answer(tokenizer: Any) -> None:
    row = make_row(7, "Where?", "Here.")
    whole = encode_example(tokenizer, row.messages)
    lost = [*whole.input_ids[:-2], tokenizer.unk_token_id, whole.input_ids[-1]]
    assert "characters that the tokenizer does not know" in refused(tokenizer, row, Encoded(lost, whole.learned)).why


@pytest.mark.parametrize(("rejected", "why"), [("", "no rejected answer"), (" Here. ", "are the same")])
def test_the_answers_of_a_pair_differ(tokenizer: Any, rejected: str, why: str) -> None:
    example = encode_example(tokenizer, make_row(0, "Where?", "Here.").messages)
    good = pair(0, "There.")
    with pytest.raises(TrainingFailed) as caught:
        check(tokenizer, [good, pair(3, rejected)], [Pair(example, example)] * 2, DPO, 100)
    assert why in caught.value.why


def test_no_secret_of_a_row_is_told(tokenizer: Any) -> None:
    row = make_row(7, "Where?", "swordfish")
    other = encode_example(tokenizer, make_row(8, "Where?", "There.").messages)
    assert "swordfish" not in str(refused(tokenizer, row, other))


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ([], None),
        ([math.log(600)], None),
        ([6.2, 5.9], None),
        ([0.01], None),
        ([math.nan], "step 1 is nan"),
        ([6.1, math.inf], "step 2 is inf"),
        ([1.6 * math.log(600)], "above 9.60"),
        ([2.0, 30.0], None),  # judged against the first loss, elsewhere
        ([0.0], "exactly zero"),
        ([0.0, 0.0], "exactly zero"),
    ],
)
def test_first_losses(losses: list[float], said: str | None) -> None:
    found = first_loss_refusal(losses, 600)
    assert found is None if said is None else said in (found or "")


def test_only_the_first_steps_are_judged() -> None:
    with pytest.raises(TrainingFailed, match="out of bounds"):
        refuse_first_losses([50.0, 2.0], 600)
    refuse_first_losses([50.0, 2.0, 2.0, 2.0], 600)


def test_a_row_that_is_too_long_stops_a_real_training(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, tiny_model, sequence_tokens=12)
    with pytest.raises(TrainingFailed, match=r"longer than train\.sequence_tokens"):
        run_job(job, bool)
    assert not list((job.work / "checkpoints").glob("step-*"))


def test_a_first_loss_out_of_bounds_stops_a_real_training(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    from tasks.adapters.base_models import resolve

    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    tensors = load_file(str(broken / "model.safetensors"))
    tensors["model.embed_tokens.weight"] *= 20  # as if a model were loaded with another scale than it was made with
    save_file(tensors, str(broken / "model.safetensors"), metadata={"format": "pt"})
    job = make_job(tmp_path, tiny_model, adapter="lora").model_copy(update={"base": resolve(str(broken))})
    with pytest.raises(TrainingFailed, match="out of bounds") as caught:
        run_job(job, bool)
    assert caught.value.where == "step 1"
