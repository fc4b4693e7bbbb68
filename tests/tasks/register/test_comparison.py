"""A champion that a candidate cannot be compared with is named, with what helps."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tasks.adapters import registry
from tasks.config import RunConfig
from tasks.errors import ModelUnavailable
from tasks.register.comparison import compared_with
from tests.tiny_model import make_tiny_model
from tests.tiny_release import CONFIG, NAME, champion


def test_without_a_champion_there_is_nothing_to_compare_with(registry_home: Path) -> None:
    assert compared_with(NAME, "champion") is None


def test_a_champion_that_is_there(registry_home: Path, tiny_model: Path) -> None:
    champion(tiny_model, 1)
    assert compared_with(NAME, "champion") == registry.served(NAME, 1)


@pytest.mark.parametrize("change", ["gone", "updated"])
def test_the_base_of_the_champion_is_gone_or_another(registry_home: Path, tmp_path: Path, change: str) -> None:
    base = make_tiny_model(tmp_path / "old")
    champion(base, 1)
    if change == "gone":
        shutil.rmtree(base)
    else:
        make_tiny_model(base, seed=5)
    with pytest.raises(ModelUnavailable) as caught:
        compared_with(NAME, "champion")
    error = caught.value
    assert error.where == f"{NAME} version 1"
    assert "champion" in error.what
    assert "compared" in error.what
    assert str(base) in error.why
    assert "train on the present one" not in error.remedy
    for help_ in ("bring", f"tuneloop models rollback {NAME}", "registry.model_name"):
        assert help_ in error.remedy
    assert "bring" in error.remedy


def test_a_rollback_does_not_help_with_the_champion_of_that_time(registry_home: Path, tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path / "old")
    champion(base, 1)
    shutil.rmtree(base)
    with pytest.raises(ModelUnavailable) as caught:
        compared_with(NAME, 1)
    assert caught.value.where == f"{NAME} version 1"
    assert "rollback" not in caught.value.remedy


def test_another_name_starts_a_model_of_its_own() -> None:
    config = RunConfig.model_validate({**CONFIG, "registry": {"model_name": "desk.2"}})
    assert config.model_name == "desk.2"
