"""A package answers in a process of its own, without Tuneloop, as the engine answers."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deployments.cli import app
from tasks.adapters import registry
from tasks.adapters.store import Store
from tasks.contracts import Quantization, ServedModel
from tasks.errors import UsageError
from tasks.inference.engine import Engine
from tasks.register import package_script
from tasks.register.package import held_out_rows, make_package
from tasks.register.package_merge import MergeDifference
from tasks.register.package_readme import readme
from tests.tiny_release import NAME, champion, write_rows


@pytest.fixture
def served(registry_home: Path, tiny_model: Path) -> ServedModel:
    champion(tiny_model, 1)
    found = registry.served(NAME, "champion")
    assert found is not None
    return found


def packaged(served: ServedModel, out: Path, *, merged: bool = False) -> Any:
    rows = held_out_rows(Store.open().path(served.dataset_uri))
    return make_package(served, rows, "# Card\n", out, merged=merged)


def answers(out: Path, *options: str) -> list[str]:
    """What the packaged script says of its own example prompts, run where nothing of Tuneloop can be imported."""
    command = [sys.executable, "-I", str(out / "answer.py"), "--prompts", str(out / "prompts.jsonl"), "--json"]
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [*command, "--max-new-tokens", "8", *options], cwd=out, env=clean, capture_output=True, text=True, check=True
    )
    return [json.loads(line)["answer"] for line in done.stdout.splitlines()]


def expected(served: ServedModel, folder: Path, quantization: Quantization) -> list[str]:
    rows = held_out_rows(Store.open().path(served.dataset_uri))[:3]
    engine = Engine.load(served.base, folder, quantization)
    return ["".join(engine.stream(row.prompt, 8)) for row in rows]


@pytest.mark.long
def test_the_script_answers_as_the_engine(served: ServedModel, tmp_path: Path) -> None:
    made = packaged(served, tmp_path / "p", merged=True)
    out = tmp_path / "p"
    assert set(made.files) == {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert {p.suffix for p in out.rglob("*") if p.is_file()} == {
        ".json",
        ".jsonl",
        ".jinja",
        ".md",
        ".py",
        ".txt",
        ".safetensors",
    }
    for folder, options in (
        (Path(served.adapter_path), ("--adapter", "--base", served.base.path)),
        (out / "model", ()),
    ):
        found = answers(out, *options)
        assert found == expected(served, folder, "none")
        assert len(set(found)) > 1 or found[0]
    assert "tasks" not in (out / "answer.py").read_text()
    assert [line.split("==")[0] for line in (out / "requirements.txt").read_text().split()] == [
        "torch",
        "transformers",
        "peft",
    ]
    assert f"{made.merged.loss_after:.4f} merged" in (out / "README.md").read_text()
    assert made.merged.rows == 4
    assert made.merged.loss_after == pytest.approx(made.merged.loss_before, abs=0.1)


@pytest.mark.slow
def test_a_4bit_adapter_answers_beside_4bit_weights(served: ServedModel, tmp_path: Path) -> None:
    four = served.model_copy(update={"quantization": "nf4"})
    packaged(four, tmp_path / "p")
    assert answers(tmp_path / "p", "--base", served.base.path) == expected(four, Path(four.adapter_path), "nf4")
    assert "bitsandbytes==" in (tmp_path / "p" / "requirements.txt").read_text()
    assert "4 bits (NF4)" in (tmp_path / "p" / "README.md").read_text()


def test_a_fully_trained_model_is_packed_as_it_is(served: ServedModel, tmp_path: Path) -> None:
    import shutil

    whole = tmp_path / "whole"
    whole.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(Path(served.base.path) / name, whole / name)
    made = packaged(served.model_copy(update={"adapter_path": str(whole)}), tmp_path / "p", merged=True)
    assert made.merged is None
    assert {p.name for p in (tmp_path / "p" / "model").iterdir()} == {"config.json", "model.safetensors"}
    assert not (tmp_path / "p" / "adapter").exists()
    assert "--base" not in (tmp_path / "p" / "README.md").read_text()


def test_a_folder_that_is_there_stays_as_it_is(served: ServedModel, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        packaged(served, tmp_path / "p")
    assert list((tmp_path / "p").iterdir()) == []


def test_the_readme_says_what_merging_changed(served: ServedModel) -> None:
    found = MergeDifference(rows=20, same_answers=0.9, loss_before=1.0, loss_after=1.25)
    text = readme(served.model_copy(update={"quantization": "nf4"}), found, adapter=True, model=True)
    assert "rounded to 4 bits" in text
    assert "90% of the rows" in text
    assert "(+0.2500)" in text


def test_the_command(served: ServedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    done = CliRunner().invoke(app, ["models", "package", f"{NAME}@champion", "--out", str(tmp_path / "p"), "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["version"] == 1
    assert said["merged"] is None
    assert "answer.py" in said["files"]
    assert "+40 points" in (tmp_path / "p" / "MODEL_CARD.md").read_text()
    again = CliRunner().invoke(app, ["models", "package", NAME, "--out", str(tmp_path / "p")])
    assert isinstance(again.exception, UsageError)


def test_held_out_rows_and_prompts_with_other_separators_of_lines(tmp_path: Path) -> None:
    text = "one\u2028two\u0085three"
    write_rows(tmp_path / "test.jsonl", [text])
    assert [row.prompt[0].content for row in held_out_rows(tmp_path)] == [text]
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"messages": [{"role": "user", "content": text}]}, ensure_ascii=False) + "\n")
    options = argparse.Namespace(prompts=prompts, question=None, system=None)
    assert package_script.read_prompts(options) == [[{"role": "user", "content": text}]]
