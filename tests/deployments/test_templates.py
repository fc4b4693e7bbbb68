"""Settings of a run are saved under a name, and other runs start from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from deployments.cli import app
from deployments.commands.templates import check_name
from deployments.config_file import load_config
from tasks.adapters.state import engine
from tasks.adapters.tables import metadata
from tasks.errors import UsageError

CONFIG = """\
project: desk
data:
  sources:
    - path: rows.jsonl
train:
  preset: aggressive
  rank: 24
gate:
  min_retention_share: 0
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNELOOP_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def call(*arguments: str) -> Any:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return json.loads(done.stdout)


def test_save_list_show_remove(config: Path) -> None:
    saved = call("templates", "save", "bold", str(config), "--set", "train.epochs=2")["template"]
    assert saved["sections"] == {
        "train": {"preset": "aggressive", "rank": 24, "epochs": 2.0}, "gate": {"min_retention_share": 0.0},
    }  # fmt: skip
    assert [t["name"] for t in call("templates", "list")["templates"]] == ["bold"]
    assert call("templates", "show", "bold")["template"] == saved
    shown = CliRunner().invoke(app, ["templates", "show", "bold"])
    assert "rank: 24" in shown.stdout
    assert call("templates", "remove", "bold")["removed"] == "bold"
    assert call("templates", "list")["templates"] == []


def test_a_name_is_taken_until_it_is_replaced(config: Path) -> None:
    call("templates", "save", "bold", str(config))
    with pytest.raises(UsageError, match="already"):
        call("templates", "save", "bold", str(config))
    call("templates", "save", "bold", str(config), "--set", "train.rank=8", "--force")
    assert call("templates", "show", "bold")["template"]["sections"]["train"]["rank"] == 8


def test_unknown_templates_name_the_close_one(config: Path) -> None:
    call("templates", "save", "bold", str(config))
    for command in (["templates", "show", "bolt"], ["templates", "remove", "bolt"],
                    ["config", "show", str(config), "--template", "bolt"]):  # fmt: skip
        with pytest.raises(UsageError) as caught:
            call(*command)
        assert caught.value.remedy == "did you mean `bold`?"


@pytest.mark.parametrize("name", ["", "Bold", "a b", "../x", "-x", "x" * 65, "é"])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(UsageError, match="no name"):
        check_name(name)


def test_a_wrong_name_saves_nothing(config: Path) -> None:
    with pytest.raises(UsageError, match="no name"):
        call("templates", "save", "Bold", str(config))
    assert call("templates", "list")["templates"] == []


@pytest.mark.parametrize(
    "value", ["https://me:hunter2hunter2@models.example.com/m", "ghp_" + "aB3dE5gH7jK9mN1pQ3sT5vX7zA9cE1gI3kL5"]
)
def test_secrets_are_never_stored(config: Path, value: str) -> None:
    with pytest.raises(UsageError, match="secret") as caught:
        call("templates", "save", "bold", str(config), "--set", f"model.base={value}")
    assert caught.value.where == "model.base"
    assert value not in str(caught.value)
    assert call("templates", "list")["templates"] == []


def test_config_show_names_the_template(config: Path, tmp_path: Path) -> None:
    call("templates", "save", "bold", str(config))
    other = tmp_path / "other.yaml"
    other.write_text(
        "project: other\ndata:\n  sources:\n    - path: rows.jsonl\ntrain:\n  epochs: 2\n", encoding="utf-8"
    )
    shown = call("config", "show", str(other), "--template", "bold")
    assert shown["train.rank"] == {"value": 24, "origin": "template bold"}
    assert shown["train.learning_rate"] == {"value": 3e-4, "origin": "preset aggressive"}
    assert shown["train.epochs"] == {"value": 2.0, "origin": "other.yaml:6"}
    assert shown["data.sources.0.path"]["value"] == str(tmp_path / "rows.jsonl")


def test_init_starts_from_a_template(config: Path, tmp_path: Path) -> None:
    call("templates", "save", "bold", str(config))
    rows = [{"prompt": f"question {i} about my bike", "completion": "fine"} for i in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    call("init", "rows.jsonl", "-o", "new.yaml", "--template", "bold")
    text = (tmp_path / "new.yaml").read_text(encoding="utf-8")
    assert "  rank: 24   # template bold" in text
    made = load_config(tmp_path / "new.yaml").config
    assert (made.train.preset, made.train.rank, made.gate.min_retention_share) == ("aggressive", 24, 0)
    assert made.train.learning_rate == "auto"


def test_the_migration_makes_the_table_as_it_is_used(config: Path) -> None:
    columns = {c["name"]: c["nullable"] for c in sa.inspect(engine()).get_columns("templates")}
    assert columns == {c.name: bool(c.nullable) for c in metadata.tables["templates"].columns}


def test_show_does_not_make_a_home(tmp_path: Path, config: Path) -> None:
    call("config", "show", str(config))
    assert not (tmp_path / "home").exists()
