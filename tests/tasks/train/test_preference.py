"""Learning from preference pairs, from the first step to the adapter: DPO, IPO and KTO."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.base_models import resolve
from tasks.contracts import Message
from tasks.errors import TrainingFailed, UsageError
from tasks.inference.engine import Engine
from tasks.tokens import load_tokenizer
from tasks.train.methods import objective_of
from tasks.train.preference_reference import batches, reference_log_probs
from tasks.train.preflight import check
from tasks.train.recipe import Recipe
from tasks.train.worker import RESULT, Result, run_job
from tests.tasks.train.preference_rows import make_pair, make_pairs, make_preference_job, make_uneven_pairs
from tests.tasks.train.test_trainer import stop_at
from tests.tasks.train.training_rows import make_job, write_rows

NEVER = bool
START = {"dpo": math.log(2), "ipo": 25.0, "kto": 0.5}


def result_of(job: Any, stop: Any = NEVER) -> Result:
    assert run_job(job, stop)
    return Result.model_validate_json((job.work / RESULT).read_text())


@pytest.mark.parametrize("method", START)
def test_it_learns_and_goes_on_exactly(home: Path, teachable_model: Path, tmp_path: Path, method: str) -> None:
    whole = result_of(make_preference_job(tmp_path / "a", teachable_model, method=method))
    assert whole.curve[0].loss == pytest.approx(START[method], rel=0.02)
    assert whole.curve[-1].loss < 0.97 * START[method]
    assert whole.rows_seen == 12
    job = make_preference_job(tmp_path / "b", teachable_model, method=method)
    assert not run_job(job, stop_at(3))
    assert list((job.work / "checkpoints").glob("reference-*.safetensors"))
    again = result_of(job)
    assert again.adapter_digest == whole.adapter_digest
    assert [point.loss for point in again.curve] == [point.loss for point in whole.curve]


def test_beta_method_and_kind_matter(home: Path, teachable_model: Path, tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [{}, {"beta": 0.5}, {"method": "ipo"}, {"adapter": "dora"}]
    digests = {
        result_of(make_preference_job(tmp_path / str(i), teachable_model, epochs=1.0, **change)).adapter_digest
        for i, change in enumerate(changes)
    }
    assert len(digests) == len(changes)


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_what_is_measured_on_other_pairs(home: Path, teachable_model: Path, tmp_path: Path, method: str) -> None:
    """Before training nothing has moved; the likelier answer is found with whole sums and with means."""
    from tasks.inference.weights import load_base

    model = load_base(teachable_model, "none").float()
    objective = objective_of(Recipe(method=method), 2048, 2)  # type: ignore[arg-type]
    examples = objective.examples(load_tokenizer(teachable_model), make_pairs(6))
    objective.prepare(model, examples, tmp_path)
    found = objective.measures(model, examples)
    assert found.keys() == {"preference_accuracy", "preference_accuracy_per_token", "reward_accuracy", "margin"}
    assert found["margin"] == pytest.approx(0, abs=1e-3)
    engine = Engine.load(resolve(str(teachable_model)), None, "none")
    engine.model.float()
    sides = [[row.messages for row in make_pairs(6)], [(*row.prompt, said(row.rejected)) for row in make_pairs(6)]]
    chosen, rejected = (engine.answer_losses(side, 6) for side in sides)
    sums = [c[0] < r[0] for c, r in zip(chosen, rejected, strict=True)]
    means = [c[0] / c[1] < r[0] / r[1] for c, r in zip(chosen, rejected, strict=True)]
    assert found["preference_accuracy"] == pytest.approx(sum(sums) / 6)
    assert found["preference_accuracy_per_token"] == pytest.approx(sum(means) / 6)
    assert objective.measures(model, []) == {}


def said(text: str) -> Message:
    return Message(role="assistant", content=text)


def test_the_reference_is_read_back_and_a_damaged_one_is_not(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    from tasks.inference.weights import load_base
    from tasks.train.data import collate

    model, other = load_base(tiny_model, "none"), load_base(tiny_model, "nf4")
    objective = objective_of(Recipe(method="dpo"), 2048, 2)
    sequences = [pair.chosen for pair in objective.examples(load_tokenizer(tiny_model), make_pairs(4))]

    def found(by: Any) -> dict[str, float]:
        return reference_log_probs(by, sequences, lambda rows: collate(rows, 2), tmp_path)

    first = found(model)
    assert len(first) == 4
    assert all(value < 0 for value in first.values())
    assert found(other) == first
    (file,) = tmp_path.glob("reference-*.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert found(other) != first
    assert found(model) != first


def test_batches_hold_few_tokens() -> None:
    lengths = [10, 5000, 2000, 2100, 3, 2000]
    made = batches(lengths)
    assert sorted(row for rows in made for row in rows) == list(range(6))
    assert all(len(rows) == 1 or len(rows) * max(lengths[r] for r in rows) <= 4096 for rows in made)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"rejected": ""}, "no rejected answer"),
        ({"rejected": make_pair(0).answer}, "both answers are the same"),
        ({"messages": make_pair(0).messages[:1]}, "no chosen answer"),
    ],
)
def test_a_row_that_is_no_pair_is_named(tiny_model: Path, change: dict[str, Any], why: str) -> None:
    rows = [make_pair(1), make_pair(0).model_copy(update=change)]
    objective = objective_of(Recipe(method="dpo"), 2048, 2)
    with pytest.raises(TrainingFailed) as caught:
        objective.examples(load_tokenizer(tiny_model), rows)
    assert caught.value.where == "row dddddddddddddddd:0"
    assert why in caught.value.why
    assert make_pair(0).answer not in str(caught.value)


def test_a_pair_that_is_too_long_is_named(tiny_model: Path) -> None:
    with pytest.raises(TrainingFailed, match="longer than the model can read"):
        objective_of(Recipe(method="ipo"), 20, 2).examples(load_tokenizer(tiny_model), make_pairs(2))


def test_kto_needs_answers_to_other_prompts(tiny_model: Path) -> None:
    objective = objective_of(Recipe(method="kto"), 2048, 2)
    with pytest.raises(TrainingFailed, match="at least two rows"):
        objective.examples(load_tokenizer(tiny_model), make_pairs(1))
    examples = objective.examples(load_tokenizer(tiny_model), make_pairs(3))
    assert [e.desirable for e in examples] == [True, False] * 3
    for example in examples:
        begins = example.answer.learned.index(True)
        assert example.mismatched.input_ids[:begins] == example.answer.input_ids[:begins]
        others = [e.answer for e in examples if e is not example]
        answer = example.mismatched.input_ids[begins:]
        assert any(answer == other.input_ids[other.learned.index(True) :] for other in others)
    assert objective.examples(load_tokenizer(tiny_model), []) == []


def limit_of(tokenizer: Any) -> int:
    """The longest sequence that the uneven rows say themselves: the tightest `sequence_tokens` that allows them."""
    pairs = objective_of(Recipe(method="dpo"), 2048, 2).examples(tokenizer, make_uneven_pairs())
    return max(len(side.input_ids) for pair in pairs for side in (pair.chosen, pair.rejected))


def test_what_kto_joins_itself_is_cut_to_the_longest_sequence(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    limit = limit_of(tokenizer)
    for recipe, most in ((Recipe(method="kto", sequence_tokens=limit), 2048), (Recipe(method="kto"), limit)):
        examples = objective_of(recipe, most, 2).examples(tokenizer, make_uneven_pairs())
        assert max(len(e.mismatched.input_ids) for e in examples) == limit
        assert all(any(e.mismatched.learned[1:]) for e in examples)
        check(tokenizer, make_uneven_pairs(), examples, recipe, most)
    whole = objective_of(Recipe(method="kto"), 2048, 2).examples(tokenizer, make_uneven_pairs())
    assert max(len(e.mismatched.input_ids) for e in whole) > limit


def test_an_answer_to_another_prompt_keeps_a_token_to_learn(tiny_model: Path) -> None:
    """Rows kept for validation may be longer than `sequence_tokens`: what is joined out of them still has an answer."""
    recipe = Recipe(method="kto", sequence_tokens=20)
    for example in objective_of(recipe, 2048, 2).examples(load_tokenizer(tiny_model), make_uneven_pairs()):
        assert any(example.mismatched.learned[1:])


def test_kto_trains_rows_that_fit_each_for_itself(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    limit = limit_of(load_tokenizer(tiny_model))
    chosen: dict[str, Any] = {"method": "kto", "sequence_tokens": limit, "epochs": 1.0}
    job = make_preference_job(tmp_path / "a", tiny_model, **chosen)
    write_rows(job.rows, make_uneven_pairs())
    assert all(math.isfinite(point.loss) for point in result_of(job).curve)
    short = make_preference_job(tmp_path / "b", tiny_model, **chosen | {"sequence_tokens": limit - 1})
    write_rows(short.rows, make_uneven_pairs())
    with pytest.raises(TrainingFailed, match="does not teach") as caught:
        run_job(short, NEVER)
    assert f"train.sequence_tokens is {limit - 1}" in caught.value.why


def test_preferences_compare_whole_answers_only(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"loss_on has to be completion"):
        run_job(make_job(tmp_path, tiny_model, method="dpo", loss_on="all"), NEVER)
