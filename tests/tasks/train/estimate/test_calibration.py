"""Calibration on a real model: it measures and leaves no trace; the estimate holds against a real run, roughly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.adapters.processes import EVENT_PREFIX
from tasks.errors import BudgetRefused
from tasks.tokens import load_tokenizer
from tasks.train.adapter import build
from tasks.train.engines.choose import Choice
from tasks.train.engines.ranks import chosen
from tasks.train.estimate.before import ESTIMATE, refuse_impossible
from tasks.train.estimate.calibration import (
    LEAST_ROUNDS,
    MOST_ROUNDS,
    SHARE,
    Calibration,
    choose_rows,
    gemm_flops,
    optimizer_seconds,
)
from tasks.train.estimate.known import Known
from tasks.train.estimate.prices import CPU, load_prices
from tasks.train.estimate.timing import Measured, Rates
from tasks.train.estimate.work import Load, flops, load_of, planned, total_flops
from tasks.train.objective import Micro
from tasks.train.plan import Decisions, Job
from tasks.train.random_state import capture
from tasks.train.run import Run
from tasks.train.shape import read_shape
from tasks.train.share import Share
from tasks.train.worker import RESULT, Result, decide_for, machine_here, run_job, run_of
from tests.tasks.train.training_rows import make_job

LONG = {"epochs": 20.0, "adapter": "lora", "checkpoint_steps": 100}


def opened(job: Job) -> tuple[Run, Decisions, Choice]:
    run, _ = run_of(job, load_tokenizer(Path(job.base.path)), Share(), bool)
    choice = chosen(job)
    decisions = decide_for(run, choice)
    run.objective.decided(decisions)
    return run, decisions, choice


def state_of(model: Any) -> dict[str, Any]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("fields", [{"dropout": 0.3}, {"method": "sft", "adapter": "full", "learning_rate": 1e-5}])
def test_it_leaves_no_trace(home: Path, tiny_model: Path, tmp_path: Path, fields: dict[str, Any]) -> None:
    job = make_job(tmp_path, tiny_model, **LONG | fields)
    run, decisions, _ = opened(job)
    model = build(job, decisions)
    before, chance, training = state_of(model), capture(), model.training
    rates = Calibration(run, model, decisions).whole()
    assert rates.calibrated
    assert rates.calibration_seconds > 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(torch.equal(tensor, chance[name]) for name, tensor in capture().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training == training


def pairs_of(job: Job, run: Run, decisions: Decisions) -> tuple[list[list[Micro]], list[list[Micro]], Load]:
    """The chosen micro-batches, those of the plan, and what decides their FLOPs."""
    load = load_of(job.config, read_shape(Path(job.base.path)), decisions)
    parts = [[part for part in pair if part] for pair in choose_rows(run, load)]
    return planned(parts, run.examples, run.objective), planned(run.steps, run.examples, run.objective), load


def test_it_measures_a_small_share_of_the_plan(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, tiny_model, **LONG)
    found, steps, load = pairs_of(job, *opened(job)[:2])
    assert len(found) > 1
    assert sum(flops(micro, load) for pair in found for micro in pair) <= SHARE * total_flops(steps, load)
    assert all(len(pair[0].lengths) <= len(pair[-1].lengths) for pair in found)
    short, *_ = opened(make_job(tmp_path / "short", tiny_model, epochs=1.0))
    assert choose_rows(short, load) == ()


def test_it_measures_every_size_that_the_plan_has(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, tiny_model, **LONG | {"epochs": 200.0})
    found, steps, load = pairs_of(job, *opened(job)[:2])
    rounds = [flops(pair[-1], load) for pair in found[1:]]
    sizes = sorted(flops(micro, load) for step in steps for micro in step)
    assert len(rounds) == MOST_ROUNDS
    assert sum(rounds) / len(rounds) == pytest.approx(sum(sizes) / len(sizes), rel=0.05)
    assert min(rounds) <= sizes[len(sizes) // 10]
    assert max(rounds) >= sizes[-len(sizes) // 10]
    assert rounds not in (sorted(rounds), sorted(rounds, reverse=True))  # a drift of the machine is not one of sizes
    assert [len(pair) for pair in found] == [2, 2] + [1] * (MOST_ROUNDS - 1)  # whole ones: one quarter says enough
    few = make_job(tmp_path / "few", tiny_model, **LONG)
    parts, steps, load = pairs_of(few, *opened(few)[:2])
    assert max(flops(pair[-1], load) for pair in parts) < total_flops(steps, load) / len(steps)  # parts of them
    assert all(len(pair) == 2 or len(pair[0].lengths) == 1 for pair in parts)  # a line has to reach further


def test_each_round_measures_other_rows(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    run, decisions, _ = opened(make_job(tmp_path, tiny_model, **LONG | {"epochs": 80.0, "micro_batch_rows": 1}))
    found = choose_rows(run, load_of(run.job.config, read_shape(tiny_model), decisions))
    assert len(found) == MOST_ROUNDS + 1
    assert len({pair.large for pair in found}) == min(len(found), len(run.examples))
    calibration = Calibration(run, build(run.job, decisions), decisions)
    assert calibration.rounds == MOST_ROUNDS
    assert calibration.whole().calibrated


def told(job: Job, patch: pytest.MonkeyPatch, first: float) -> tuple[Rates, list[float]]:
    """The rates of a calibration whose passes take what they are told to, the first two some seconds more."""
    run, decisions, _ = opened(job)
    load, passes = load_of(job.config, read_shape(Path(job.base.path)), decisions), list[float]()

    def measured(calibration: Calibration, rows: tuple[int, ...]) -> Measured:
        size = sum(flops(micro, load) for micro in planned([[rows]], run.examples, run.objective)[0])
        passes.append(10.0 + size * 1e-6 + (first if len(passes) < 2 else 0.0))
        calibration._seconds += passes[-1]
        return Measured(flops=size, seconds=passes[-1])

    patch.setattr(Calibration, "_measured", measured)
    return Calibration(run, build(job, decisions), decisions).whole(), passes


def test_first_passes_are_compared_with_usual_ones_of_their_size(
    home: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates, _ = told(make_job(tmp_path, tiny_model, **LONG | {"epochs": 200.0}), monkeypatch, 5.0)
    assert (rates.seconds_per_flop, rates.micro_seconds) == pytest.approx((1e-6, 10.0))
    assert rates.first_seconds == pytest.approx(10.0)


def test_it_ends_where_it_would_take_too_much_of_the_run(
    home: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path, tiny_model, **LONG | {"epochs": 200.0})
    _, quick = told(job, monkeypatch, 0.0)
    assert len(quick) == 2 + 1 + MOST_ROUNDS  # the first two, a quarter, the rounds
    _, slow = told(job, monkeypatch, 1e6)
    assert len(slow) == 2 + 1 + LEAST_ROUNDS


def test_what_stays_after_a_first_pass_is_no_activation(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    run, decisions, _ = opened(make_job(tmp_path, tiny_model, **LONG))
    calibration = Calibration(run, build(run.job, decisions), decisions)
    before = calibration.base_bytes
    rates = calibration.whole()
    assert rates.base_bytes >= before > 0
    assert 0.3 <= rates.memory_factor <= 3


def test_without_a_calibration_the_rate_of_products_is_taken(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, tiny_model, epochs=1.0)
    run, decisions, _ = opened(job)
    rates = Calibration(run, build(job, decisions), decisions).whole()
    assert not rates.calibrated
    assert rates.margin == 0.5
    assert rates.seconds_per_flop == pytest.approx(1 / (0.4 * rates.gemm_flops))
    assert gemm_flops(256) > 1e8
    assert optimizer_seconds([]) == 0
    many = [torch.nn.Parameter(torch.zeros(4_000_000)), torch.nn.Parameter(torch.zeros(100))]
    assert 0 < optimizer_seconds(many) < 10


@pytest.fixture(scope="module")
def whole(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, Result]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("estimated")
        patch.setenv("TUNELOOP_HOME", str(folder / "home"))
        job = make_job(folder, tiny_model, **LONG).model_copy(update={"known": Known(prices=load_prices())})
        assert run_job(job, bool)
        return job, Result.model_validate_json((job.work / RESULT).read_text(encoding="utf-8"))


def test_the_record_has_estimate_and_actual(whole: tuple[Job, Result]) -> None:
    _, result = whole
    found = result.estimate
    assert found is not None
    assert found.calibrated
    assert found.low_seconds < found.seconds < found.high_seconds
    assert 0.2 < found.seconds / result.seconds < 5  # a shared machine; bench/estimate.py measures it
    assert 0.4 < found.memory_bytes / result.peak_memory_bytes < 2.5
    assert found.price_per_hour == load_prices().kinds[CPU].on_demand
    assert found.cost == pytest.approx(found.seconds / 3600 * found.price_per_hour)


def test_a_resumed_training_says_again_what_was_said(
    home: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[int] = []
    job = make_job(tmp_path, tiny_model, epochs=2.0, adapter="lora")
    job = job.model_copy(update={"known": Known(prices=load_prices())})
    assert not run_job(job, lambda: len(asked) > 3 or bool(asked.append(1)))
    kept = json.loads((job.work / "checkpoints" / ESTIMATE).read_text(encoding="utf-8"))
    capsys.readouterr()
    assert run_job(job, bool)
    result = Result.model_validate_json((job.work / RESULT).read_text(encoding="utf-8"))
    assert result.estimate is not None
    assert result.estimate.model_dump(mode="json") == kept
    said = [json.loads(line.removeprefix(EVENT_PREFIX)) for line in capsys.readouterr().out.splitlines()
            if line.startswith(EVENT_PREFIX) and '"estimate"' in line]  # fmt: skip
    assert [event["again"] for event in said] == [True]
    assert said[0]["price_per_hour"] == kept["price_per_hour"]
    assert said[0]["text"].startswith("as estimated at first: about")


@pytest.mark.parametrize("text", ["{", '{"seconds": 3.0, "field_of_an_older_release": 1}'])
def test_an_estimate_that_cannot_be_read_is_measured_again(
    home: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    asked: list[int] = []
    job = make_job(tmp_path, tiny_model, epochs=2.0, adapter="lora")
    assert not run_job(job, lambda: len(asked) > 3 or bool(asked.append(1)))
    note = job.work / "checkpoints" / ESTIMATE
    note.write_text(text, encoding="utf-8")
    capsys.readouterr()
    assert run_job(job, bool)
    said = [json.loads(line.removeprefix(EVENT_PREFIX)) for line in capsys.readouterr().out.splitlines()
            if line.startswith(EVENT_PREFIX)]  # fmt: skip
    assert [event["again"] for event in said if event["event"] == "estimate"] == [False]
    assert [event["step"] for event in said if event["event"] == "resumed"] == [4]
    result = Result.model_validate_json((job.work / RESULT).read_text(encoding="utf-8"))
    assert result.estimate is not None


def test_what_is_too_dear_is_not_started(
    home: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = make_job(tmp_path, tiny_model, epochs=1.0, max_cost=1e-12)
    job = job.model_copy(update={"known": Known(prices=load_prices())})
    with pytest.raises(BudgetRefused, match="estimated to cost") as caught:
        run_job(job, bool)
    assert caught.value.exit_code == 40
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith(EVENT_PREFIX)]
    assert not [line for line in said if '"progress"' in line]


def test_what_does_not_fit_is_not_loaded(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    run, decisions, choice = opened(make_job(tmp_path, tiny_model))
    refuse_impossible(run, decisions, machine_here(), choice)
    small = machine_here().model_copy(update={"free_bytes": -(10**12)})
    with pytest.raises(BudgetRefused, match="the machine has"):
        refuse_impossible(run, decisions, small, choice)
