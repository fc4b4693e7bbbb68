"""`tuneloop init`: a first look at unknown data ends in a configuration that runs and states its shares."""

from __future__ import annotations

import csv
import datetime
import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from deployments.cli import app
from deployments.config_file import Template, config_from, load_config
from deployments.first_config import describe
from deployments.first_look import Look, SourceLook, look_at, sizes_for
from tasks.adapters import templates
from tasks.adapters.templates import SavedTemplate
from tasks.errors import DataRefused, UsageError
from tasks.train.recipe import Facts, resolve_recipe
from tasks.validate.config import ChecksConfig
from tests.tiny_project import make_rows, write_rows


def labelled(path: Path, rows: int) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "category"])
        writer.writerows([f"question number {i} about my card and account", f"topic_{i % 7}"] for i in range(rows))
    return path


def test_a_table_of_labels_with_a_test_file(tmp_path: Path) -> None:
    files = [labelled(tmp_path / "train.csv", 3000), labelled(tmp_path / "test.csv", 600)]
    look = look_at(files, tmp_path)
    assert [(s.shape, s.held_out) for s in look.sources] == [("classification", False), ("classification", True)]
    text, sizes = describe(look, minutes=5, gflops=400, project="")
    assert f"{sizes.train_share:.0%}" in text
    assert sizes.train_rows < 3000
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    config = load_config(tmp_path / "config.yaml").config
    assert config.train.max_rows == sizes.train_rows
    assert config.evaluate.max_rows == sizes.test_rows
    assert [s.split for s in config.data.sources] == ["auto", "test"]
    assert config.gate.min_retention_share == 0


def test_chat_rows_that_fit_are_all_used(tmp_path: Path) -> None:
    write_rows(tmp_path / "chats.jsonl", make_rows(60, seed=3))
    text, sizes = describe(look_at([tmp_path / "chats.jsonl"], tmp_path), minutes=30, gflops=800, project="")
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    config = load_config(tmp_path / "config.yaml").config
    assert config.project == "chats"
    assert config.train.max_rows is None
    assert sizes.train_share == 1
    assert config.gate.min_retention_share == 0.7


def test_a_first_training_has_the_rate_that_the_built_in_model_learns_with(tmp_path: Path) -> None:
    write_rows(tmp_path / "chats.jsonl", make_rows(60, seed=3))
    text, _ = describe(look_at([tmp_path / "chats.jsonl"], tmp_path), minutes=30, gflops=800, project="")
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    config = load_config(tmp_path / "config.yaml").config
    found = resolve_recipe(config.train, Facts(rows=60, parameters=134_515_008))
    assert (found.recipe.learning_rate, found.recipe.rank, found.recipe.batch_rows) == (2e-3, 16, 16)
    assert found.origins["learning_rate"].startswith("auto: ")
    assert not found.warnings


def test_a_template_takes_the_place_of_what_is_proposed(tmp_path: Path) -> None:
    write_rows(tmp_path / "chats.jsonl", make_rows(60, seed=3))
    template = Template("mine", {"train": {"adapter": "lora", "target_modules": ["q_proj"], "max_rows": None},
                                 "registry": {"model_name": "x.1"}})  # fmt: skip
    look = look_at([tmp_path / "chats.jsonl"], tmp_path)
    text, _ = describe(look, minutes=30, gflops=800, project="", template=template)
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    config = load_config(tmp_path / "config.yaml").config
    assert (config.train.adapter, config.train.target_modules, config.train.max_rows) == ("lora", ("q_proj",), None)
    assert config.registry.model_name == "x.1"
    assert text.count("adapter:") == 1
    assert "max_rows: null   # template mine" in text


def test_long_rows_raise_the_limit(tmp_path: Path) -> None:
    row: dict[str, object] = {"prompt": "word " * 2200, "completion": "fine"}
    write_rows(tmp_path / "long.jsonl", [row, {"prompt": "short one", "completion": "fine"}])
    text, _ = describe(look_at([tmp_path / "long.jsonl"], tmp_path), minutes=5, gflops=400, project="p")
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    assert load_config(tmp_path / "config.yaml").config.checks.max_tokens > ChecksConfig().max_tokens


@pytest.mark.parametrize("minutes", [1, 5, 60])
def test_more_time_never_means_fewer_rows(minutes: float) -> None:
    look = Look(sources=(), train_rows=20_000, test_rows=4_000, tokens_per_row=60, longest_characters=300)
    less, more = sizes_for(look, minutes, 400), sizes_for(look, minutes * 2, 400)
    assert less.train_rows <= more.train_rows <= 20_000
    assert less.test_rows <= more.test_rows <= 4_000


def test_nothing_usable_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("just a note", encoding="utf-8")
    with pytest.raises(DataRefused):
        look_at([tmp_path / "notes.txt"], tmp_path)


def test_one_usable_row_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", make_rows(1, seed=3))
    with pytest.raises(DataRefused, match="only one row is usable"):
        look_at([tmp_path / "rows.jsonl"], tmp_path)


@pytest.mark.parametrize(
    "name", ["2024.csv", "2024-05-01.csv", "no.csv", "null.csv", "1e5.csv", "a: b #c.csv", "é.csv", "~x.csv"]
)
def test_any_file_name_gives_a_configuration_that_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    labelled(tmp_path / name, 50)
    done = CliRunner().invoke(app, ["init", name, "--json"])
    assert done.exit_code == 0, done.output
    config = load_config(tmp_path / "config.yaml").config
    assert config.data.sources[0].path == str(tmp_path / name)


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40))
@example("~")
@example("~nobody-of-this-name.csv")
@settings(max_examples=200, deadline=None)
def test_what_is_written_is_read_back(name: str) -> None:
    source = SourceLook(
        path=name, shape="classification", why=f"column '{name}'", rows=50, usable=50, named_held_out=True
    )
    look = Look(sources=(source,), train_rows=40, test_rows=10, tokens_per_row=20, longest_characters=80)
    text, _ = describe(look, minutes=5, gflops=400, project="")
    config = config_from(text, Path("/here/config.yaml")).config
    assert config.data.sources[0].path == str(Path("/here") / name)


@pytest.mark.parametrize("name", ["test.csv", "dev.csv", "eval.csv", "ab-test.csv"])
def test_one_file_named_like_a_held_out_set_is_split(tmp_path: Path, name: str) -> None:
    look = look_at([labelled(tmp_path / name, 50)], tmp_path)
    assert (look.train_rows, look.test_rows, look.sources[0].held_out) == (40, 10, False)
    text, _ = describe(look, minutes=5, gflops=400, project="p")
    assert "split: auto   # its name says test, but" in text
    assert config_from(text, tmp_path / "config.yaml").config.data.sources[0].split == "auto"


def test_a_held_out_file_without_usable_rows_holds_nothing_out(tmp_path: Path) -> None:
    empty = tmp_path / "test.csv"
    empty.write_text("text,category\n,\n,\n", encoding="utf-8")
    look = look_at([labelled(tmp_path / "train.csv", 50), empty], tmp_path)
    assert (look.train_rows, look.test_rows) == (40, 10)
    assert not any(source.held_out for source in look.sources)


def test_a_project_that_cannot_be_one_is_refused_before_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["init", "not there.csv", "--project", "My Data"])
    assert isinstance(done.exception, UsageError)
    assert done.exception.where == "--project 'My Data'"
    assert "my_data" in done.exception.remedy
    assert not (tmp_path / "config.yaml").exists()


def test_what_would_not_load_is_not_written(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    labelled(tmp_path / "cards.csv", 50)
    sections = {"train": {"rank": 8, "adapter": "full"}}
    saved = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    templates.save(SavedTemplate(name="old", sections=sections, saved_from="config.yaml", at=saved))
    done = CliRunner().invoke(app, ["init", "cards.csv", "--template", "old"])
    assert isinstance(done.exception, UsageError)
    assert "template old" in done.exception.why
    assert not (tmp_path / "config.yaml").exists()


def test_the_command_writes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    labelled(tmp_path / "cards.csv", 50)
    done = CliRunner().invoke(app, ["init", "cards.csv", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["train_rows_available"] == 40
    assert load_config(tmp_path / "config.yaml").config.project == "cards"
    again = CliRunner().invoke(app, ["init", "cards.csv"])
    assert isinstance(again.exception, UsageError)
    assert CliRunner().invoke(app, ["init", "cards.csv", "--force", "--json"]).exit_code == 0


def test_an_archive_is_one_source(tmp_path: Path) -> None:
    tables = [labelled(tmp_path / f"{n}.csv", 30 + n) for n in range(2)]
    write_rows(tmp_path / "chats.jsonl", make_rows(20, seed=3))
    for name, members in (("same.zip", tables), ("mixed.zip", [*tables, tmp_path / "chats.jsonl"])):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member in members:
                archive.write(member, member.name)
        look = look_at([tmp_path / name], tmp_path)
        (source,) = look.sources
        count = 61 + 20 * (len(members) - 2)
        assert (source.path, source.rows, source.usable) == (name, count, count)
        assert source.shape == ("classification" if members is tables else "auto")
        text, _ = describe(look, minutes=5, gflops=400, project="p")
        assert config_from(text, tmp_path / "config.yaml").config.data.sources[0].shape == source.shape
        assert text.count("- path:") == 1


def test_equal_files_count_once_and_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.csv"):
        labelled(tmp_path / name, 50)
    for name in ("a.zip", "b.zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(zipfile.ZipInfo("more.csv"), labelled(tmp_path / "more.csv", 60).read_text())
    done = CliRunner().invoke(app, ["init", "a.csv", "b.csv", "a.zip", "b.zip", "a.csv", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["train_rows_available"] + found["test_rows_available"] == 110
    assert found["left_out"] == [f"{b} holds the same content as {a} and is left out"
                                 for a, b in (("a.csv", "b.csv"), ("a.zip", "b.zip"))]  # fmt: skip
    text = (tmp_path / "config.yaml").read_text(encoding="utf-8")
    assert "# b.csv holds the same content as a.csv and is left out" in text
    assert [Path(s.path).name for s in load_config(tmp_path / "config.yaml").config.data.sources] == ["a.csv", "a.zip"]


@pytest.mark.parametrize("characters", [9000, 20_000])
def test_a_limit_on_length_is_written_only_where_it_is_higher_than_the_default(tmp_path: Path, characters: int) -> None:
    row: dict[str, object] = {"prompt": "w" * characters, "completion": "fine"}
    write_rows(tmp_path / "long.jsonl", [row, {"prompt": "short one", "completion": "fine"}])
    text, _ = describe(look_at([tmp_path / "long.jsonl"], tmp_path), minutes=5, gflops=400, project="p")
    limit = config_from(text, tmp_path / "config.yaml").config.checks.max_tokens
    assert limit == (ChecksConfig().max_tokens if characters == 9000 else 8011)


@pytest.mark.parametrize("minutes", ["inf", "1e300"])
def test_a_time_limit_without_an_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: str) -> None:
    monkeypatch.chdir(tmp_path)
    labelled(tmp_path / "cards.csv", 50)
    done = CliRunner().invoke(app, ["init", "cards.csv", "--minutes", minutes])
    assert isinstance(done.exception, UsageError)
    assert done.exception.where == f"--minutes {float(minutes)}"
