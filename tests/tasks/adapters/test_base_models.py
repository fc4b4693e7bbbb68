"""A name becomes exactly the model it says, or an error that says why and what to do."""

from __future__ import annotations

import fnmatch
import json
import shutil
import struct
from pathlib import Path

import huggingface_hub
import pytest

from tasks.adapters.base_models import parameters_at_hand, resolve
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


_POINTER = (
    "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b12\nsize 269\n"
)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "tokenizer_config.json", "config.json"])
def test_a_clone_without_git_lfs_is_told_to_pull(folder: Path, file: str) -> None:
    (folder / file).write_text(_POINTER, encoding="utf-8")
    with pytest.raises(ModelUnavailable) as caught:
        resolve(str(folder))
    assert caught.value.where == str(folder / file)
    assert "Git LFS" in caught.value.why
    assert "git lfs pull" in caught.value.remedy


def _safetensors(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "8 bytes"),
        (b"1234", "8 bytes"),
        (b"<!doctype html><title>404</title>", "longer than the file"),
        (struct.pack("<Q", 2**62) + b"{}", "longer than the file"),
        (_safetensors(b"{}"), "no weights"),
        (_safetensors(b'{"__metadata__": {"format": "pt"}}'), "no weights"),
        (_safetensors(b"[1]"), "header"),
        (_safetensors(b"{'a'"), "header"),
        (_safetensors(b'{"a": 1}'), "header"),
        (_safetensors(b'{"a": {"dtype": "F32", "shape": [2]}}', b"12345678"), "header"),
        (_safetensors(b'{"a": {"dtype": "F32", "shape": ["2"], "data_offsets": [0, 8]}}', b"12345678"), "header"),
        (_safetensors(b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', b"1234"), "ends before"),
        (_safetensors(b"[" * 9000), "header"),
    ],
)
def test_weights_that_are_no_weights_are_refused(folder: Path, content: bytes, why: str) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelUnavailable) as caught:
        resolve(str(folder))
    assert caught.value.where == str(folder / "model.safetensors")
    assert why in caught.value.why
    assert caught.value.remedy


def test_the_size_at_hand_is_not_guessed_from_a_broken_file(folder: Path) -> None:
    assert parameters_at_hand(str(folder)) == resolve(str(folder)).parameters
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelUnavailable):
        parameters_at_hand(str(folder))


@pytest.mark.parametrize("text", ["{", "[]", "\xff", "[" * 100_000])
@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"])
def test_settings_that_are_no_json_object_are_refused(folder: Path, file: str, text: str) -> None:
    (folder / file).write_text(text, encoding="latin-1")
    with pytest.raises(ModelUnavailable) as caught:
        resolve(str(folder))
    assert caught.value.where == str(folder / file)


@pytest.fixture
def parts(folder: Path) -> Path:
    """The model in two files with their index, as big models are saved."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(str(folder / "model.safetensors"))
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    where = {name: f"model-0000{1 + (number % 2)}-of-00002.safetensors" for number, name in enumerate(names)}
    for file in set(where.values()):
        save_file({n: tensors[n] for n in names if where[n] == file}, str(folder / file), metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def test_a_model_in_parts_is_a_model(parts: Path, tiny_model: Path) -> None:
    assert resolve(str(parts)).parameters == resolve(str(tiny_model)).parameters


def test_a_part_that_the_index_names_and_that_is_missing(parts: Path) -> None:
    (parts / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelUnavailable) as caught:
        resolve(str(parts))
    assert caught.value.where == str(parts / "model.safetensors.index.json")
    assert "model-00002-of-00002.safetensors" in caught.value.why


def test_a_part_that_lacks_what_the_index_says(parts: Path) -> None:
    shutil.copyfile(parts / "model-00001-of-00002.safetensors", parts / "model-00002-of-00002.safetensors")
    with pytest.raises(ModelUnavailable) as caught:
        resolve(str(parts))
    assert "not in model-00002-of-00002.safetensors" in caught.value.why


@pytest.mark.parametrize("text", ["{", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', '{"weight_map": {}}'])
def test_an_index_that_is_none(parts: Path, text: str) -> None:
    (parts / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelUnavailable) as caught:
        resolve(str(parts))
    assert caught.value.where == str(parts / "model.safetensors.index.json")


def test_an_index_beside_the_whole_model_does_not_count(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "gone.safetensors"}}', encoding="utf-8")
    assert resolve(str(folder)).parameters > 0


def test_the_same_weights_in_another_layout_do_not_count(parts: Path, tiny_model: Path) -> None:
    before = resolve(str(parts))
    shutil.copyfile(tiny_model / "model.safetensors", parts / "consolidated.safetensors")
    assert resolve(str(parts)) == before
    assert parameters_at_hand(str(parts)) == before.parameters


def test_weights_that_nothing_loads_are_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")
    with pytest.raises(ModelUnavailable) as caught:
        resolve(str(folder))
    assert "model.safetensors.index.json" in caught.value.why
    assert parameters_at_hand(str(folder)) is None


def test_a_model_whose_size_is_not_said_is_refused_before_anything_begins(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"model_type": "nobody-knows", "vocab_size": config["vocab_size"]}))
    with pytest.raises(ModelUnavailable, match="size of the base model") as caught:
        resolve(str(folder))
    assert caught.value.where == str(folder / "config.json")


class Hub:
    """A hub with one repository; what is asked of it is copied into the cache."""

    def __init__(self, files: Path, cache: Path) -> None:
        self.files, self.cache = files, cache

    def snapshot_download(self, repo: str, *, revision: str, allow_patterns: list[str]) -> str:
        self.cache.mkdir(exist_ok=True)
        for file in self.files.iterdir():
            if any(fnmatch.fnmatch(file.name, pattern) for pattern in allow_patterns):
                shutil.copyfile(file, self.cache / file.name)
        return str(self.cache)


@pytest.mark.parametrize("layout", ["whole", "parts"])
def test_only_what_is_loaded_is_fetched(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, layout: str
) -> None:
    files: Path = request.getfixturevalue("folder" if layout == "whole" else "parts")
    wanted = {file.name for file in files.glob("*.safetensors")}
    for extra in ("consolidated.safetensors", "pytorch_model.bin"):
        (files / extra).write_bytes(b"large")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", Hub(files, tmp_path / "cache").snapshot_download)
    found = resolve("hf:owner/name@v1")
    assert {file.name for file in Path(found.path).iterdir() if file.suffix in (".safetensors", ".bin")} == wanted


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
