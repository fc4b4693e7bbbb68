"""What a training goes on from: found, identified, and refused where it does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.adapters import registry
from tasks.adapters.base_models import resolve
from tasks.contracts import BaseModelRef
from tasks.errors import UsageError
from tasks.train.recipe import Recipe
from tasks.train.start import find_start
from tests.tasks.train.test_stage import CONFIG, train
from tests.tiny_model import make_tiny_model
from tests.tiny_release import NAME, champion, make_adapter


@pytest.fixture
def base(tiny_model: Path, home: Path) -> BaseModelRef:
    return resolve(str(tiny_model))


def test_nothing_is_named(base: BaseModelRef) -> None:
    assert find_start(Recipe(), base) is None


def test_a_folder_is_known_by_its_files(base: BaseModelRef, tmp_path: Path) -> None:
    found: list[Any] = []
    for seed in (1, 1, 2):
        folder = tmp_path / f"{len(found)}"
        folder.mkdir()
        make_adapter(folder, seed)
        found.append(find_start(Recipe(start_from=str(folder)), base))
    assert [start.folder.name for start in found if start] == ["0", "1", "2"]
    first, same, other = (start.digest for start in found if start)
    assert first == same != other


def test_a_registered_version(registry_home: Path, tiny_model: Path, tmp_path: Path) -> None:
    base = resolve(str(tiny_model))
    version = champion(tiny_model, 1)
    for name in (f"{NAME}@champion", f"{NAME}@{version.version}"):
        found = find_start(Recipe(adapter="lora", start_from=name), base)
        assert found is not None
        assert found.digest == version.adapter_digest
        assert str(found.folder) == registry.served(NAME, 1).adapter_path  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="cannot start") as caught:
        find_start(Recipe(adapter="qlora", start_from=f"{NAME}@1"), base)
    assert "stored as none, here they are nf4" in caught.value.why
    other = resolve(str(make_tiny_model(tmp_path / "other", seed=5)))
    with pytest.raises(UsageError, match="cannot start") as caught:
        find_start(Recipe(adapter="lora", start_from=f"{NAME}@1"), other)
    assert "it was trained on" in caught.value.why


@pytest.mark.parametrize(("name", "why"), [("", "neither"), ("@7", "neither a folder nor a registered version")])
def test_what_is_not_there(registry_home: Path, tiny_model: Path, tmp_path: Path, name: str, why: str) -> None:
    named = f"{NAME}{name}" if name else str(tmp_path)
    with pytest.raises(UsageError, match="cannot start") as caught:
        find_start(Recipe(start_from=named), resolve(str(tiny_model)))
    assert why in caught.value.why


def test_a_training_says_what_it_went_on_from(home: Path, base: BaseModelRef) -> None:
    from tasks.adapters.store import Store

    first, _ = train(home, base)
    folder = str(Store.open().path(first.uri))
    again, _ = train(home, base, CONFIG.model_copy(update={"start_from": folder}))
    assert first.started_from == ""
    assert again.started_from
    assert again.adapter_digest != first.adapter_digest
    assert again.curve[0].loss < first.curve[0].loss
