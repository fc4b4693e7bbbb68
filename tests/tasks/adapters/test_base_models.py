"""A name becomes exactly the model it says, or an error that says why and what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tasks.adapters.base_models import resolve
from tasks.errors import ModelUnavailable


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.fixture(autouse=True)
def cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELOOP_MODELS_DIR", str(home / "models"))


def test_a_folder_is_a_model(folder: Path) -> None:
    found = resolve(str(folder))
    assert found.path == str(folder)
    assert found.parameters > 0
    assert found == resolve(str(folder))


def test_the_digest_follows_the_content_not_the_place(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "elsewhere")
    assert resolve(str(copy)).digest == resolve(str(folder)).digest


def test_a_changed_template_changes_both_digests(folder: Path) -> None:
    before = resolve(str(folder))
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    after = resolve(str(folder))
    assert after.digest != before.digest
    assert after.tokenizer_digest != before.tokenizer_digest


def test_changed_weights_change_only_the_model_digest(folder: Path) -> None:
    before = resolve(str(folder))
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    after = resolve(str(folder))
    assert after.digest != before.digest
    assert after.tokenizer_digest == before.tokenizer_digest


def test_the_library_version_in_the_configuration_is_incidental(folder: Path) -> None:
    before = resolve(str(folder)).digest
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"transformers_version": "9.9"}))
    assert resolve(str(folder)).digest == before


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ("config.json", "config.json"),
        ("tokenizer.json", "tokenizer.json"),
        ("model.safetensors", "pickled weights are never loaded"),
        ("chat_template.jinja", "a chat template"),
    ],
)
def test_an_incomplete_folder_is_refused(folder: Path, missing: str, named: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(ModelUnavailable) as caught:
        resolve(str(folder))
    assert named in caught.value.why


def test_an_unknown_name_lists_what_is_possible() -> None:
    with pytest.raises(ModelUnavailable) as caught:
        resolve("smollm-135m")
    assert "did you mean smollm2-135m?" in caught.value.remedy
    assert "hf:owner/name@revision" in caught.value.remedy
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["hf:owner/name", "hf:name@main", "hf:owner/name@"])
def test_a_hub_id_needs_a_revision(name: str) -> None:
    with pytest.raises(ModelUnavailable, match="no complete hub id"):
        resolve(name)


def test_a_hub_that_cannot_be_reached_is_an_error(home: Path) -> None:
    """In a process of its own: the hub client reads its address and cache when it is imported."""
    import os
    import subprocess
    import sys

    code = "from tasks.adapters.base_models import resolve; resolve('hf:owner/name@main')"
    env = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(home / "hf")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert "ModelUnavailable: TL-MODEL: the hub model owner/name at main cannot be had" in done.stderr
    assert "HF_ENDPOINT" in done.stderr
