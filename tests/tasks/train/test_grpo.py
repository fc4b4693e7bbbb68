"""GRPO: answers that are worth more become likelier, and an interrupted training samples the same answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from tasks.errors import TrainingFailed, UsageError
from tasks.inference.weights import load_base
from tasks.tokens import encode_prompt, load_tokenizer
from tasks.train.grpo import GroupRelative, token_losses
from tasks.train.methods import objective_of
from tasks.train.plan import Job
from tasks.train.recipe import Recipe
from tasks.train.reward import reward
from tasks.train.worker import RESULT, Result, run_job
from tests.tasks.test_tokens import TOOL_TEMPLATE, TOOLS
from tests.tasks.train.test_trainer import stop_at
from tests.tasks.train.training_rows import make_job, make_row, write_rows
from tests.tiny_model import make_tiny_model

NEVER = bool
GRPO: dict[str, Any] = {
    "adapter": "full",
    "method": "grpo",
    "answer_tokens": 4,
    "samples_per_prompt": 4,
    "learning_rate": 1e-3,
    "beta": 0.01,
}


def result_of(job: Job, stop: Any = NEVER) -> Result:
    assert run_job(job, stop)
    return Result.model_validate_json((job.work / RESULT).read_text())


def job_of(folder: Path, model: Path, answers: tuple[str, ...], start: Path | None = None, **config: Any) -> Job:
    job = make_job(folder, model, **config)
    write_rows(job.rows, [make_row(i, f"Where is bike {i}?", answers[i % len(answers)]) for i in range(8)])
    return job.model_copy(update={"start": start})


@pytest.fixture(scope="module")
def undecided(teachable_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that gives each of two answers about as often."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("undecided")
        patch.setenv("TUNELOOP_HOME", str(folder / "home"))
        job = job_of(folder, teachable_model, ("0", "1"), adapter="full", learning_rate=5e-3, epochs=16.0)
        assert result_of(job).curve[-1].loss < 1.0
        return job.work


def test_answers_that_are_worth_more_become_likelier(
    home: Path, teachable_model: Path, tmp_path: Path, undecided: Path
) -> None:
    before, after = (
        result_of(
            job_of(tmp_path / name, teachable_model, ("1",), undecided, **GRPO | change, validation_share=0.25)
        ).measures["reward"]
        for name, change in (("before", {"learning_rate": 1e-9, "epochs": 0.5}), ("after", {"epochs": 10.0}))
    )
    assert 0 <= before <= 1
    assert after == 1.0


def test_it_goes_on_exactly(home: Path, teachable_model: Path, tmp_path: Path, undecided: Path) -> None:
    whole = result_of(job_of(tmp_path / "a", teachable_model, ("1",), undecided, **GRPO))
    job = job_of(tmp_path / "b", teachable_model, ("1",), undecided, **GRPO)
    assert not run_job(job, stop_at(2))
    again = result_of(job)
    assert again.adapter_digest == whole.adapter_digest
    assert [point.loss for point in again.curve] == [point.loss for point in whole.curve]


def test_samples_and_their_length_matter(home: Path, teachable_model: Path, tmp_path: Path, undecided: Path) -> None:
    changes: list[dict[str, Any]] = [{}, {"samples_per_prompt": 6}, {"answer_tokens": 2}]
    results = [
        result_of(job_of(tmp_path / str(i), teachable_model, ("1",), undecided, **GRPO | change))
        for i, change in enumerate(changes)
    ]
    assert results[0].tokens < results[1].tokens
    assert results[0].tokens > results[2].tokens
    assert results[0].adapter_digest != results[1].adapter_digest


def test_gradient_of_a_token() -> None:
    """At the start the divergence has no gradient and the gain has the advantage's: the policy gradient."""
    now = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    losses = token_losses(now, now.detach().clone(), torch.tensor([[0.5]]), beta=0.1)
    assert losses.tolist() == [[-0.5, -0.5]]
    (gradient,) = torch.autograd.grad(losses.sum(), now)
    assert gradient.tolist() == [[-0.5, -0.5]]
    moved = token_losses(now, now.detach() - 1, torch.tensor([[0.0]]), beta=0.1)
    assert (moved > 0).all()


@pytest.mark.parametrize(
    ("answer", "reference", "worth"),
    [
        ("we will ring", "we  will\nring", 1.0),
        ("we ring", "we will ring", 0.0),
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}', 1.0),
        ('{"a": 1, "b": 3}', '{"a": 1, "b": 2}', 0.6),
        ('{"a": 1, "b": 2, "c": 3, "d": 4}', '{"a": 1, "b": 2}', 0.6),
        ("{}", '{"a": 1}', 0.2),
        ("a is 1", '{"a": 1}', 0.0),
    ],
)
def test_what_an_answer_is_worth(answer: str, reference: str, worth: float) -> None:
    assert reward(answer, reference, ended=True) == pytest.approx(worth)
    assert reward(answer, reference, ended=False) == 0.0


def test_tools_stand_in_the_prompt(tmp_path: Path, tiny_model: Path) -> None:
    """Answers are sampled to the question as it will be asked, and never to one without its tools."""
    row = make_row(3, "Where is bike 7?", "In Rye.").model_copy(update={"tools": TOOLS})
    tokenizer = load_tokenizer(make_tiny_model(tmp_path / "tools", template=TOOL_TEMPLATE))
    (asked,) = objective_of(Recipe(method="grpo", answer_tokens=10), 2048, 2).examples(tokenizer, [row])
    assert list(asked.prompt) == encode_prompt(tokenizer, row.prompt, TOOLS)
    assert '"name": "find_bike"' in tokenizer.decode(asked.prompt)
    with pytest.raises(TrainingFailed, match="tool calls") as caught:
        objective_of(Recipe(method="grpo"), 2048, 2).examples(load_tokenizer(tiny_model), [row])
    assert caught.value.where == "row dddddddddddddddd:3"


def test_what_cannot_be_asked_is_named(tiny_model: Path) -> None:
    objective = objective_of(Recipe(method="grpo", answer_tokens=10), 20, 2)
    with pytest.raises(TrainingFailed, match="cannot be asked"):
        objective.examples(load_tokenizer(tiny_model), [make_row(0, "Where is my bike? " * 9, "yes")])
    with pytest.raises(UsageError, match="no meaning with grpo"):
        objective_of(Recipe(method="grpo", early_stopping_evals=2), 2048, 2)


def test_answers_are_drawn_from_the_models_own_shares(tiny_model: Path) -> None:
    """Settings that came with the model, a low temperature or a penalty, would draw from other shares."""
    tokenizer = load_tokenizer(tiny_model)
    objective = objective_of(Recipe(method="grpo", answer_tokens=10, samples_per_prompt=6), 2048, 2)
    assert isinstance(objective, GroupRelative)
    (asked,) = objective.examples(tokenizer, [make_row(0, "Where is my bike?", "yes")])
    model, answers = load_base(tiny_model, "none"), []
    for own in ({}, {"temperature": 0.01, "repetition_penalty": 5.0, "min_p": 0.9, "bad_words_ids": [[9]]}):
        model.generation_config = before = GenerationConfig(do_sample=True, **own)
        torch.manual_seed(3)
        made = [*objective._answers(model, asked, 6), *objective._answers(model, asked, 1, greedy=True)]
        answers.append([sampled.sequence.input_ids for sampled in made])
        assert model.generation_config is before
    assert answers[0] == answers[1]
    assert len({tuple(ids) for ids in answers[0][:6]}) == 6
