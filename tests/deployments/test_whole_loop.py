"""The loop closes, with every service as `tuneloop up` starts it: answers, versions, drift, retraining, an end."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.deployments.running_stack import Stack, stack
from tests.flows.commands import run_json, tuneloop
from tests.tiny_project import ANSWER, WORDS, make_project, make_rows, write_rows

pytestmark = [pytest.mark.slow, pytest.mark.acceptance, pytest.mark.timeout(1500)]
COFFEE = (
    "espresso", "roast", "grinder", "crema", "beans", "filter", "milk", "kettle",
    "cup", "aroma", "barista", "dripper", "decaf", "latte", "brew",
)  # fmt: skip


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, teachable_model: Path) -> Iterator[Stack]:
    """Services of a project whose first version serves."""
    config = make_project(tmp_path_factory.mktemp("loop") / "project", teachable_model)
    outcome, done = run_json(config)
    assert outcome["status"] == "done", done.stderr
    with stack(config) as services:
        yield services


def ask(running: Stack, text: str, **options: Any) -> Any:
    messages: Any = [{"role": "user", "content": text}]
    return running.client().chat.completions.create(model="tiny", messages=messages, max_tokens=1, **options)


def ask_all(running: Stack, words: tuple[str, ...], count: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(count):
        ask(running, " ".join(chance.sample(words, 6)))


def serves(running: Stack, version: int) -> None:
    """Wait until the gateway answers with a version; it is the process that `up` started."""
    deadline = time.monotonic() + 120
    while (answered := ask(running, "lantern harbour").model) != f"tiny@{version}":
        assert time.monotonic() < deadline, answered
        time.sleep(0.5)
    services = json.loads(tuneloop("status", str(running.config), "--json").stdout)["services"]
    assert {s["name"]: s["pid"] for s in services} == running.pids


def retrainings_after_a_check(running: Stack, expected: int) -> list[dict[str, Any]]:
    """Run the nightly check by hand; all retrainings, some time after as many as expected are there."""
    running.ended(running.started("check-drift/nightly", {}))
    deadline = time.monotonic() + 60
    while len(running.runs("retrain/local")) < expected and time.monotonic() < deadline:
        time.sleep(0.5)
    time.sleep(10)
    return running.runs("retrain/local")


def test_the_openai_client_is_answered(running: Stack) -> None:
    assert [model.id for model in running.client().models.list()] == ["tiny", "tiny@1"]
    prompt = str(make_rows(1, seed=2)[0]["messages"][0]["content"])  # type: ignore[index]
    assert ask(running, prompt).choices[0].message.content == ANSWER
    pieces = [chunk.choices[0].delta.content or "" for chunk in ask(running, prompt, stream=True) if chunk.choices]
    assert "".join(pieces) == ANSWER
    with pytest.raises(openai.AuthenticationError):
        running.client("wrong").models.list()


def test_a_promotion_and_a_rollback_are_served_without_a_restart(running: Stack) -> None:
    write_rows(running.config.parent / "train.jsonl", make_rows(70, seed=3))
    outcome, done = run_json(running.config, server=running.api)
    assert (outcome["status"], outcome["model"]["version"]) == ("done", 2), done.stderr
    serves(running, 2)
    back = tuneloop("models", "rollback", "tiny", "--reason", "a test", "--config", str(running.config))
    assert back.returncode == 0, back.stderr
    serves(running, 1)
    again = tuneloop("models", "promote", "tiny", "2", "--reason", "a test", "--config", str(running.config))
    assert again.returncode == 0, again.stderr
    serves(running, 2)


def test_ordinary_requests_start_nothing(running: Stack) -> None:
    ask_all(running, WORDS, 35, seed=4)
    assert retrainings_after_a_check(running, 0) == []


def test_drift_without_new_rows_ends_unchanged_and_says_what_is_needed(running: Stack) -> None:
    ask_all(running, COFFEE, 60, seed=5)
    (retraining,) = retrainings_after_a_check(running, 1)
    state = running.ended(retraining)
    assert state["name"] == "Unchanged"
    assert "add labelled rows like it to the sources" in state["message"]
    assert "requests to tiny drifted" in state["message"]


def test_drift_with_new_rows_makes_a_new_version_that_serves(running: Stack) -> None:
    chance = random.Random(6)
    new = make_rows(40, seed=6)
    for row in new:
        row["messages"][0]["content"] = " ".join(chance.sample(COFFEE, 6))  # type: ignore[index]
    write_rows(running.config.parent / "train.jsonl", [*make_rows(70, seed=3), *new])
    retraining, _ = retrainings_after_a_check(running, 2)
    assert running.ended(retraining)["name"] == "Completed"
    serves(running, 3)
