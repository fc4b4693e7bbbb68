"""Configuration files: places of mistakes, overrides, origins."""

from pathlib import Path

import pytest

from deployments.config_file import known_keys, load_config, shown_values
from tasks.errors import UsageError

GOOD = "project: desk\ndata:\n  sources:\n    - path: rows.jsonl\ntrain:\n  epochs: 3\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_data_paths_resolve_against_the_configuration(tmp_path: Path) -> None:
    loaded = load_config(write(tmp_path, GOOD))
    assert loaded.config.data.sources[0].path == str(tmp_path / "rows.jsonl")


def test_a_misspelt_key_names_the_line_and_the_close_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(write(tmp_path, GOOD + "  epoch: 4\n"))
    assert caught.value.exit_code == 2
    assert caught.value.where.endswith("config.yaml:7")
    assert "epochs" in caught.value.remedy


def test_a_bad_value_names_its_key(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"train\.rank"):
        load_config(write(tmp_path, GOOD + "  rank: nought\n"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        ("- a\n- b\n", "empty or not a mapping"),
        ("project: [1\n", "not YAML"),
        ("project: desk\n", "data"),
    ],
)
def test_broken_files_are_usage_errors(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        load_config(write(tmp_path, text))


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(tmp_path / "none.yaml")
    assert "tuneloop init" in caught.value.remedy


def test_wrong_encoding_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"project: caf\xe9\n")
    with pytest.raises(UsageError, match="cannot be read"):
        load_config(path)


def test_overrides_win_and_are_named_as_origin(tmp_path: Path) -> None:
    loaded = load_config(write(tmp_path, GOOD), ["train.epochs=5", "data.sources.0.split=test"])
    assert loaded.config.train.epochs == 5
    assert loaded.config.data.sources[0].split == "test"
    origins = {v.name: v.origin for v in shown_values(loaded)}
    assert origins["train.epochs"] == "--set train.epochs"
    assert origins["project"] == "config.yaml:1"
    assert origins["train.rank"] == "default"


def test_a_misspelt_override_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(write(tmp_path, GOOD), ["train.epoch=5"])
    assert caught.value.where == "--set train.epoch"


@pytest.mark.parametrize("text", ["train.epochs", "=3", "project.x=1"])
def test_overrides_that_make_no_sense(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError):
        load_config(write(tmp_path, GOOD), [text])


def test_every_value_is_shown_with_a_description(tmp_path: Path) -> None:
    values = shown_values(load_config(write(tmp_path, GOOD)))
    assert len(values) > 40
    undescribed = [v.name for v in values if not v.description]
    assert not undescribed


def test_known_keys_follow_the_address() -> None:
    assert "sources" in known_keys(("data",))
    assert "path" in known_keys(("data", "sources", 0))
