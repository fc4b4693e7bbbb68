"""What an hour of a training costs here: of the devices that it uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.devices import gpu_names
from tasks.train.estimate import around
from tasks.train.estimate.around import local_price
from tasks.train.estimate.known import Known
from tasks.train.estimate.prices import CPU, load_prices
from tasks.train.recipe import Recipe

EIGHT = ("NVIDIA L4",) * 8
SMALL, LARGE = 135_000_000, 60_000_000_000


def price(parameters: int = SMALL, **recipe: Any) -> float | None:
    return local_price(Known(prices=load_prices()), Recipe.model_validate(recipe), parameters)


@pytest.fixture(autouse=True)
def _no_choice_of_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("TUNELOOP_TRAINER", raising=False)


@pytest.mark.parametrize(
    ("parameters", "recipe", "used"),
    [
        (SMALL, {"engine": "single"}, 1),
        (SMALL, {"processes": 2, "micro_batch_rows": 4, "batch_rows": 16}, 2),
        (SMALL, {"micro_batch_rows": 4, "batch_rows": 16}, 4),
        (LARGE, {"micro_batch_rows": 4, "batch_rows": 16}, 8),
        (SMALL, {"processes": 9, "micro_batch_rows": 1, "batch_rows": 16}, 8),  # the trainer will refuse it
    ],
)
def test_only_the_gpus_that_are_used_cost(
    monkeypatch: pytest.MonkeyPatch, parameters: int, recipe: dict[str, Any], used: int
) -> None:
    monkeypatch.setattr(around, "gpu_names", lambda: EIGHT)
    assert price(parameters, **recipe) == pytest.approx(used * load_prices().kinds["L4"].on_demand)


def test_gpus_that_are_hidden_cost_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for number, name in enumerate(EIGHT):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "information").write_text(f"Model:  {name}\n", encoding="utf-8")
    monkeypatch.setattr(around, "gpu_names", lambda: gpu_names(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert price(micro_batch_rows=4, batch_rows=16) == pytest.approx(2 * load_prices().kinds["L4"].on_demand)


def test_a_cpu_and_what_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(around, "gpu_names", lambda: ())
    assert price(processes=2) == load_prices().kinds[CPU].on_demand
    assert local_price(Known(), Recipe(), SMALL) is None
    monkeypatch.setattr(around, "gpu_names", lambda: ("Unheard of",))
    assert price() is None
    monkeypatch.setenv("TUNELOOP_TRAINER", "kubernetes")
    monkeypatch.setattr(around, "gpu_names", lambda: EIGHT)
    assert price() is None
