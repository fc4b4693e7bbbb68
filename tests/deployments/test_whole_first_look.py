"""From files nobody described to a model or a refusal: by `init` and `run`, by the form, by HTTP."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import pytest

from tests.deployments.running_stack import stack
from tests.flows.commands import run_json, tuneloop
from tests.tiny_project import WORDS, make_rows, write_rows

pytestmark = [pytest.mark.slow, pytest.mark.acceptance, pytest.mark.timeout(1500)]


def table(folder: Path) -> Path:
    """A CSV of 2,500 rows: what is asked, and which of five desks it belongs to."""
    chance, path = random.Random(1), folder / "questions.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for _ in range(2500):
            words = chance.sample(WORDS, 7)
            writer.writerow([" ".join(words), f"desk_{WORDS.index(words[0]) % 5}"])
    return path


def chats(folder: Path) -> Path:
    path = folder / "chats.jsonl"
    write_rows(path, make_rows(300, seed=1))
    return path


def looked_at(data: Path, base: Path) -> Path:
    """What `init` wrote, with the tiny model as its base."""
    config = data.parent / "config.yaml"
    done = tuneloop("init", str(data), "--output", str(config), "--minutes", "2")
    assert done.returncode == 0, done.stderr
    text = config.read_text(encoding="utf-8")
    assert text.count("base: smollm2-135m") == 1
    config.write_text(text.replace("base: smollm2-135m", f"base: {base}"), encoding="utf-8")
    return config


def is_an_answer(outcome: dict[str, Any]) -> bool:
    """A model, or a refusal with reasons."""
    rows = outcome["rows"]
    assert rows["in"] == rows["kept"] + rows["merged"] + rows["quarantined"]
    assert outcome["trained"]
    if outcome["status"] == "refused":
        return bool(outcome["exit_code"] == 10 and outcome["reasons"] and not outcome["gate"]["passed"])
    return bool(outcome["status"] == "done" and outcome["model"]["alias"] == "champion")


def trainings(config: Path) -> int:
    return len(list((config.parent / ".tuneloop" / "store" / "stages" / "train").glob("*/_COMPLETE.json")))


def test_chat_rows_become_a_model_or_a_refusal(tmp_path: Path, teachable_model: Path) -> None:
    outcome, done = run_json(looked_at(chats(tmp_path), teachable_model))
    assert is_an_answer(outcome), done.stderr
    assert outcome["rows"]["in"] == 300


def test_a_table_is_run_by_command_by_http_and_by_the_form(tmp_path: Path, teachable_model: Path) -> None:
    config = looked_at(table(tmp_path), teachable_model)
    outcome, done = run_json(config)
    assert is_an_answer(outcome), done.stderr
    assert outcome["rows"]["in"] == 2500
    with stack(config) as services:
        same = services.ended(services.started("retrain/local", {"reason": "by curl"}))
        assert same["name"] == ("Refused" if outcome["status"] == "refused" else "Unchanged")
        assert outcome["status"] == "done" or outcome["reasons"][0] in same["message"]
        assert trainings(config) == 1
        form = services.get("/deployments/name/retrain/local")["parameters"]  # what the form is filled in with
        form["config"]["train"]["max_rows"] = 64
        other = services.ended(services.started("retrain/local", form | {"reason": "another size"}))
        assert other["name"] in ("Completed", "Refused")
        assert trainings(config) == 2
