"""Configuration files: places of mistakes, overrides, origins."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.config_file import Template, config_from, given_sections, known_keys, load_config, shown_values
from tasks.errors import UsageError

GOOD = "project: desk\ndata:\n  sources:\n    - path: rows.jsonl\ntrain:\n  epochs: 3\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_data_paths_resolve_against_the_configuration(tmp_path: Path) -> None:
    loaded = load_config(write(tmp_path, GOOD))
    assert loaded.config.data.sources[0].path == str(tmp_path / "rows.jsonl")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("runs/adapter", "{folder}/runs/adapter"),
        ("./a@b", "{folder}/a@b"),
        ("/else/where", "/else/where"),
        ("desk@champion", "desk@champion"),
        ("desk@3", "desk@3"),
    ],
)
def test_the_folder_that_training_starts_from_lies_beside_the_configuration(
    tmp_path: Path, given: str, found: str
) -> None:
    loaded = load_config(write(tmp_path, GOOD + f"  start_from: {given}\n"))
    assert loaded.config.train.start_from == found.format(folder=tmp_path)


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
    assert origins["train.rank"] == "preset balanced"
    assert origins["model.base"] == "default"


def test_a_misspelt_override_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(write(tmp_path, GOOD), ["train.epoch=5"])
    assert caught.value.where == "--set train.epoch"


@pytest.mark.parametrize("text", ["train.epochs", "=3", "project.x=1"])
def test_overrides_that_make_no_sense(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError):
        load_config(write(tmp_path, GOOD), [text])


@pytest.mark.parametrize("value", ["{", "[1", "2026-13-01", "!!bool maybe", "!!float ''", "!!timestamp x", "[" * 5000])
def test_an_override_that_cannot_be_read(tmp_path: Path, value: str) -> None:
    with pytest.raises(UsageError, match="the value cannot be read") as caught:
        load_config(write(tmp_path, GOOD), [f"train.epochs={value}"])
    assert caught.value.where == "--set train.epochs"
    assert "YAML" in caught.value.why
    assert "quotes" in caught.value.remedy


@pytest.mark.parametrize("name", ["9.path", "9", "foo", "foo.path", "-1.path", "²", "1" * 5000])
def test_an_override_of_an_entry_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"`data\.sources` has no entry") as caught:
        load_config(write(tmp_path, GOOD), [f"data.sources.{name}=1"])
    assert caught.value.where == f"--set data.sources.{name}"
    assert caught.value.why == "it is a list with one entry, number 0"
    assert caught.value.remedy


def test_an_override_in_a_section_that_the_file_leaves_empty(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, GOOD + "gate:\n"), ["gate.min_rows=9"]).config.gate.min_rows == 9


_NAMES = st.lists(st.sampled_from(["data", "sources", "train", "epochs", "project", "0", "1", "path", ""]), max_size=4)


@given(_NAMES.map(".".join), st.one_of(st.text(max_size=12), st.text("[]{}&*!|>-:,#'\"%@a0 \n", max_size=12)))
@settings(max_examples=300, deadline=None)
def test_no_override_ends_in_anything_but_a_usage_error(name: str, value: str) -> None:
    with contextlib.suppress(UsageError):
        config_from(GOOD, Path("/here/config.yaml"), [f"{name}={value}"])


@pytest.mark.parametrize("line", ["  from: 2026-13-01\n", "  epochs: !!bool maybe\n", "  epochs: &a [*a]\n"])
def test_a_value_that_is_none_of_its_kind_is_a_usage_error(tmp_path: Path, line: str) -> None:
    with pytest.raises(UsageError):
        load_config(write(tmp_path, GOOD.replace("  epochs: 3\n", line)))


def test_the_home_of_somebody_who_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="home folder") as caught:
        load_config(write(tmp_path, GOOD), ["data.sources.0.path=~nobody-of-this-name/rows.jsonl"])
    assert caught.value.where == "~nobody-of-this-name/rows.jsonl"


def test_every_value_is_shown_with_a_description(tmp_path: Path) -> None:
    values = shown_values(load_config(write(tmp_path, GOOD)))
    assert len(values) > 40
    undescribed = [v.name for v in values if not v.description]
    assert not undescribed


def test_known_keys_follow_the_address() -> None:
    assert "sources" in known_keys(("data",))
    assert "path" in known_keys(("data", "sources", 0))


def test_a_contradiction_names_field_line_and_remedy(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + "  batch_rows: 16\n  micro_batch_rows: 5\n")
    with pytest.raises(UsageError, match="micro_batch_rows must divide batch_rows") as caught:
        load_config(path)
    assert caught.value.where.endswith("config.yaml:8")
    assert caught.value.remedy == "give one of 1, 2, 4, 8, 16"
    with pytest.raises(UsageError) as caught:
        load_config(path, ["train.micro_batch_rows=4", "train.adapter=full", "train.rank=8"])
    assert caught.value.where == "--set train.rank"


def test_on_and_off_need_no_quotes(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, GOOD + "  packing: off\n  compile: on\n"), ["train.fused_layers=off"]).config
    assert (config.train.packing, config.train.compile, config.train.fused_layers) == ("off", "on", "off")


@pytest.mark.parametrize(("text", "value"), [("auto", "auto"), ("8", 8)])
def test_auto_can_be_set_from_the_command_line(tmp_path: Path, text: str, value: object) -> None:
    assert load_config(write(tmp_path, GOOD), [f"train.rank={text}"]).config.train.rank == value


def test_rates_are_read_as_people_write_them(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, GOOD), ["train.learning_rate=2e-4"]).config.train.learning_rate == 2e-4


def test_a_wrong_value_among_several_kinds_is_said_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(write(tmp_path, GOOD + "  rank: nought\n"))
    assert caught.value.what.startswith("`train.rank`: ")
    assert "more" not in caught.value.what
    assert "'auto'" in caught.value.what
    assert caught.value.where.endswith("config.yaml:7")


def test_shown_values_of_a_training_are_resolved(tmp_path: Path) -> None:
    loaded = load_config(write(tmp_path, GOOD + "  rank: auto\n  preset: conservative\n"), ["train.learning_rate=auto"])
    shown = {v.name: v for v in shown_values(loaded, rows=1200, parameters=135_000_000)}
    assert shown["train.rank"][1:3] == (16, "config.yaml:7, auto: by data size, 1,200 rows")
    assert shown["train.learning_rate"].value == 2e-3
    assert shown["train.learning_rate"].origin.startswith("--set train.learning_rate, auto: ")
    assert shown["train.epochs"][1:3] == (3.0, "config.yaml:6")
    assert shown["train.alpha"][1:3] == (32, "every preset, auto: twice the rank")
    assert shown["train.preset"][1:3] == ("conservative", "config.yaml:8")
    unknown = {v.name: v for v in shown_values(loaded)}
    assert unknown["train.rank"].value == "auto"
    assert "worked out when data and model are known" in unknown["train.rank"].origin


def test_a_template_holds_where_the_file_says_nothing(tmp_path: Path) -> None:
    template = Template("small", {"train": {"rank": 4, "epochs": 9}, "gate": {"min_rows": 9}, "model": {"base": "b"}})
    text = GOOD + "gate:\n"
    loaded = load_config(write(tmp_path, text), ["model.base=smollm2-135m"], template)
    assert (loaded.config.train.rank, loaded.config.train.epochs) == (4, 3)
    shown = {v.name: v for v in shown_values(loaded)}
    assert shown["train.rank"].origin == shown["gate.min_rows"].origin == "template small"
    assert shown["train.epochs"].origin == "config.yaml:6"
    assert shown["model.base"].origin == "--set model.base"


def test_a_contradiction_with_a_template_names_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(write(tmp_path, GOOD + "  adapter: full\n"), (), Template("small", {"train": {"rank": 4}}))
    assert caught.value.where == "template small"


def test_given_sections_hold_what_was_given(tmp_path: Path) -> None:
    loaded = load_config(write(tmp_path, GOOD + "model:\n  base: ./mine\n"), ["train.rank=8"])
    sections = given_sections(loaded, ("model", "train", "gate"))
    assert sections == {"model": {"base": str(tmp_path / "mine")}, "train": {"epochs": 3.0, "rank": 8}}
