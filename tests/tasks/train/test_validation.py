"""Validation rows are training rows that stay together; a look changes nothing; training stops in time."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.contracts import Row, ValidationPoint
from tasks.errors import TrainingFailed
from tasks.train.adapter import WEIGHTS
from tasks.train.validation import Validation, split_rows
from tasks.train.worker import RESULT, Result, run_job
from tests.tasks.train.training_rows import make_job, make_row, make_rows

VALIDATED = {"validation_share": 0.25, "eval_steps": 2}


def result_of(job: object, stop: object = bool) -> Result:
    assert run_job(job, stop)  # type: ignore[arg-type]
    return Result.model_validate_json((job.work / RESULT).read_text())  # type: ignore[attr-defined]


@given(st.integers(2, 60), st.floats(0.01, 0.5), st.integers(0, 5), st.integers(1, 6))
def test_every_row_is_on_one_side_and_groups_stay_together(count: int, share: float, seed: int, prompts: int) -> None:
    rows = [make_row(i, f"question {i % prompts if prompts > 1 else i}", f"answer {i}") for i in range(count)]
    found = split_rows(rows, share, "", seed)
    assert sorted(r.row_id for r in (*found.training, *found.validation)) == sorted(r.row_id for r in rows)
    assert not {r.prompt for r in found.training} & {r.prompt for r in found.validation}
    assert found.training
    assert found.validation
    biggest = max(Counter(r.prompt for r in rows).values())
    assert len(found.validation) < share * count + biggest
    assert found == split_rows(rows, share, "", seed)


def test_a_seed_and_a_group_decide() -> None:
    rows = make_rows(40)
    assert split_rows(rows, 0.2, "", 1) != split_rows(rows, 0.2, "", 2)
    assert split_rows(rows, 0.0, "", 1) == (rows, [])
    teams = [row.model_copy(update={"metadata": {"team": str(i % 5)}}) for i, row in enumerate(rows)]
    found = split_rows(teams, 0.2, "team", 1)
    sides = [{row.metadata["team"] for row in side} for side in found]
    assert not sides[0] & sides[1]


def test_one_group_cannot_be_split() -> None:
    rows: list[Row] = [make_row(i, "the same", f"answer {i}") for i in range(4)]
    with pytest.raises(TrainingFailed, match="no rows can be kept for validation"):
        split_rows(rows, 0.5, "", 1)


def looked(patience: int, *losses: float) -> Validation:
    found = Validation((1,), every=5, patience=patience, batch_rows=1)
    found.looks = [ValidationPoint(step=5 * number, loss=loss) for number, loss in enumerate(losses)]
    return found


def test_when_to_stop() -> None:
    assert not looked(2, 3.0, 2.0, 2.1).exhausted
    assert looked(2, 3.0, 2.0, 2.1, 2.0).exhausted
    assert not looked(0, 3.0, 2.0, 2.1, 2.2, 2.3).exhausted
    assert not looked(2, 1.0, 2.0, 1.9, 1.8).exhausted, "the look before training is no best one"
    assert looked(2, 3.0, 2.0, float("nan"), float("nan")).exhausted
    assert looked(2, 3.0, 2.0, 2.1).best_step == looked(2, 3.0, 2.0, 2.1).written_step == 5
    assert looked(0, 3.0, 2.0).written_step is None


def test_when_to_look() -> None:
    due = looked(0, 3.0).due
    assert [due(0, False), due(5, False), due(6, False), due(6, True)] == [False, True, False, True]
    assert not Validation((), every=1, patience=0, batch_rows=1).due(0, False)


@pytest.mark.parametrize("change", [{}, {"expand_nf4": "off"}, {"adapter": "lora_8bit"}])
def test_a_look_changes_nothing_but_the_rows(
    home: Path, tiny_model: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    """With dropout, so that a drawn number would be seen; once with many looks, once with one and none before it."""
    often = result_of(
        make_job(tmp_path / "often", tiny_model, **VALIDATED | {"eval_steps": 1, "dropout": 0.2} | change)
    )
    job = make_job(tmp_path / "seldom", tiny_model, **VALIDATED | {"eval_steps": 100, "dropout": 0.2} | change)
    assert not run_job(job, stop_at(1, 100))
    seldom = result_of(job)
    assert often.adapter_digest == seldom.adapter_digest
    assert [p.loss for p in often.curve] == [p.loss for p in seldom.curve]
    steps = often.curve[-1].step
    assert [p.step for p in often.validation] == list(range(steps + 1))
    assert [p.step for p in seldom.validation] == [0, steps]
    assert often.validation_rows == 12 - often.rows_seen == 3
    assert often.validation[-1].loss < often.validation[0].loss
    assert often.curve[-1].validation_loss == often.validation[-1].loss
    assert all(p.gradient_norm and p.gradient_norm > 0 for p in often.curve)


def test_it_stops_by_itself_and_writes_the_best(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    change = VALIDATED | {"eval_steps": 1, "early_stopping_evals": 2, "learning_rate": 0.1, "epochs": 12.0, "seed": 3}
    job = make_job(tmp_path / "a", tiny_model, **change)
    result = result_of(job)
    losses = {p.step: p.loss for p in result.validation if p.step}
    assert result.best_step == min(losses, key=lambda step: losses[step])
    assert result.steps == result.best_step + 2 < 36
    assert any(f"the adapter of step {result.best_step} was written" in text for text in result.history)
    short = make_job(tmp_path / "b", tiny_model, **change | {"early_stopping_evals": 0})
    assert not run_job(short, stop_at(result.best_step, 1))
    from safetensors.torch import load_file

    best = load_file(str(short.work / "checkpoints" / f"step-{result.best_step:08d}" / "adapter.safetensors"))
    written = load_file(str(job.work / WEIGHTS))
    for name, tensor in best.items():
        assert torch.equal(written[name.replace(".default", "")], tensor.to(torch.bfloat16)), name


def stop_at(step: int, every: int) -> object:
    """Asked before the first step, after each step, and after each look."""
    asked: list[int] = []
    looks_before = 1 + (step - 1) // every

    def stop() -> bool:
        asked.append(1)
        return len(asked) > step + looks_before

    return stop


@pytest.mark.parametrize(("look", "steps"), [(1, []), (2, [2])])
def test_a_stop_during_a_look_is_obeyed_before_the_next_step(
    home: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: int, steps: list[int]
) -> None:
    """A step may take longer than what is left of the time that a trainer gets to end."""
    from tasks.train import validation

    looks, measure = list[int](), validation.validation_loss

    def measured(*arguments: Any) -> float:
        looks.append(1)  # while it looks, somebody asks
        return measure(*arguments)

    monkeypatch.setattr(validation, "validation_loss", measured)
    job = make_job(tmp_path, tiny_model, **VALIDATED, checkpoint_steps=1_000)
    assert not run_job(job, lambda: len(looks) >= look)
    assert [path.name for path in (job.work / "checkpoints").glob("step-*")] == [f"step-{step:08d}" for step in steps]


@pytest.mark.parametrize("step", [2, 3])
def test_it_goes_on_exactly(home: Path, tiny_model: Path, tmp_path: Path, step: int) -> None:
    """Stopped at a step with a look (which the stop cuts off) and without."""
    change = VALIDATED | {"early_stopping_evals": 5, "dropout": 0.2}
    expected = result_of(make_job(tmp_path / "a", tiny_model, **change))
    job = make_job(tmp_path / "b", tiny_model, **change)
    assert not run_job(job, stop_at(step, 2))
    assert max(path.name for path in (job.work / "checkpoints").glob("step-*")) == f"step-{step:08d}"
    found = result_of(job)
    assert found.adapter_digest == expected.adapter_digest
    assert (found.curve, found.validation, found.best_step) == (expected.curve, expected.validation, expected.best_step)
    assert found.interruptions == 1
    assert any(text.startswith(f"interrupted 1×, resumed at step {step}") for text in found.history)


def test_all_generators_go_on(tmp_path: Path) -> None:
    import numpy as np

    from tasks.train.random_state import capture, flat, of_rank, put_back

    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    random.gauss(0, 1), np.random.normal()
    state = of_rank(flat([capture(), capture()]), 1, step=4)
    drawn = [random.gauss(0, 1), random.random(), np.random.normal(), np.random.rand(), torch.rand(2).tolist()]
    random.seed(9), np.random.seed(9), torch.manual_seed(9)
    put_back(state)
    assert drawn == [random.gauss(0, 1), random.random(), np.random.normal(), np.random.rand(), torch.rand(2).tolist()]
    new = [of_rank(flat([capture()]), 1, step=4)["torch/cpu"] for _ in range(2)]
    assert torch.equal(*new), "a process that was not there before draws the same at every try"
