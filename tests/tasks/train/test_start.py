"""What a training goes on from: found, identified, and refused where it does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters import registry
from tasks.adapters.base_models import resolve
from tasks.adapters.store import Store
from tasks.contracts import BaseModelRef
from tasks.errors import UsageError
from tasks.train.recipe import Recipe
from tasks.train.start import find_start
from tests.tasks.train.provocations import InProcess
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


def test_a_folder_says_what_it_was_trained_on(
    home: Path, base: BaseModelRef, tmp_path: Path, trained_here: InProcess
) -> None:
    """A copy of it too: base and storage of its weights stand in the file with the adapter."""
    trained, _ = train(home, base)
    folder = shutil.copytree(Store.open().path(trained.uri), tmp_path / "copy")
    assert find_start(Recipe(start_from=str(folder)), base) is not None
    with pytest.raises(UsageError, match="cannot start") as caught:
        find_start(Recipe(start_from=str(folder), adapter="lora"), base)
    assert caught.value.why == "its base weights were stored as nf4, here they are none"
    other = resolve(str(make_tiny_model(tmp_path / "other", seed=5)))
    with pytest.raises(UsageError, match="cannot start") as caught:
        find_start(Recipe(start_from=str(folder)), other)
    assert caught.value.why == f"it was trained on {base.name}, this training is on {other.name}"


@pytest.mark.parametrize(
    ("named", "trained_on", "refused"),
    [
        ("", "hf:acme/one@v1", False),
        ("acme/one", "hf:acme/one@v1", False),
        ("hf:acme/one@main", "hf:acme/one@v1", False),
        ("hf:acme/two@v1", "hf:acme/one@v1", True),
        ("smollm2-135m", "smollm2-135m", False),
        ("smollm2-135m", "/models/copy", False),
    ],
)
def test_what_another_library_names(
    base: BaseModelRef, tmp_path: Path, named: str, trained_on: str, refused: bool
) -> None:
    make_adapter(tmp_path, 1)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": named}))
    recipe, here = Recipe(start_from=str(tmp_path)), base.model_copy(update={"name": trained_on})
    if not refused:
        assert find_start(recipe, here) is not None
        return
    with pytest.raises(UsageError, match="cannot start") as caught:
        find_start(recipe, here)
    assert caught.value.why == f"it was trained on {named}, this training is on {trained_on}"


def test_a_folder_of_another_base_model_that_is_named(base: BaseModelRef, tmp_path: Path) -> None:
    other = make_tiny_model(tmp_path / "other", seed=5)
    make_adapter(tmp_path, 1)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    for named, refused in ((base.path, False), (str(other), True), (str(tmp_path), False)):
        (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": named}))
        if refused:
            with pytest.raises(UsageError, match="cannot start"):
                find_start(Recipe(start_from=str(tmp_path)), base)
        else:
            assert find_start(Recipe(start_from=str(tmp_path)), base) is not None


def test_a_damaged_adapter_is_told(base: BaseModelRef, tmp_path: Path) -> None:
    make_adapter(tmp_path, 1)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match="cannot start") as caught:
        find_start(Recipe(start_from=str(tmp_path)), base)
    assert "adapter_model.safetensors" in caught.value.why


def test_a_training_says_what_it_went_on_from(home: Path, base: BaseModelRef, trained_here: InProcess) -> None:
    first, _ = train(home, base)
    folder = str(Store.open().path(first.uri))
    again, _ = train(home, base, CONFIG.model_copy(update={"start_from": folder}))
    assert first.started_from == ""
    assert again.started_from
    assert again.adapter_digest != first.adapter_digest
    assert again.curve[0].loss < first.curve[0].loss
    copy = shutil.copytree(folder, home / "copy")
    from_copy, _ = train(home, base, CONFIG.model_copy(update={"start_from": str(copy)}))
    assert (from_copy.new, from_copy.adapter_digest) == (False, again.adapter_digest)
    assert len(trained_here.jobs) == 2
