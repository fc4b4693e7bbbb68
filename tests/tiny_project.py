"""A project that the tiny model can learn in seconds: every message is answered with the same short text."""

from __future__ import annotations

import json
import random
from pathlib import Path

WORDS = (
    "lantern", "harbour", "meadow", "copper", "thistle", "velvet", "granite", "willow", "ember", "saffron",
    "orchard", "pebble", "timber", "falcon", "marble", "juniper", "canyon", "ribbon", "anchor", "clover",
    "barley", "hollow", "mantle", "quartz", "raven", "spindle", "tundra", "walnut", "zephyr", "bramble",
)  # fmt: skip
ANSWER = "y"


def make_rows(count: int, seed: int) -> list[dict[str, object]]:
    """Chat rows with distinct prompts of six words."""
    chance = random.Random(seed)
    return [
        {
            "messages": [
                {"role": "user", "content": " ".join(chance.sample(WORDS, 6))},
                {"role": "assistant", "content": ANSWER},
            ],
            "agent": "desk",
        }
        for _ in range(count)
    ]


PERSONAL = ("jo.doe@example.com", "4111 1111 1111 1111", "+44 20 7946 0018", "ann.author@example.org")


def personal_row() -> dict[str, object]:
    """A row with personal data in its message and in its metadata."""
    mail, card, phone, author = PERSONAL
    return {
        "messages": [
            {"role": "user", "content": f"Please write to {mail} or call {phone} about the card {card} that I lost."},
            {"role": "assistant", "content": ANSWER},
        ],
        "author": author,
    }


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def make_project(folder: Path, base: Path, *, name: str = "tiny", gate: str = "", extra: str = "") -> Path:
    """Write data and configuration; returns the configuration's path.

    The gate is opened where the task is trivial (a constant answer is also the majority answer); everything else is
    as a user would have it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "train.jsonl", [*make_rows(63, seed=1), personal_row()])
    write_rows(folder / "test.jsonl", make_rows(40, seed=2))
    config = folder / "config.yaml"
    config.write_text(
        f"""\
project: {name}
data:
  sources:
    - path: train.jsonl
    - path: test.jsonl
      split: test
model:
  base: {base}
train:
  adapter: lora
  learning_rate: 0.02
  alpha: 64
  epochs: 8
  batch_rows: 8
  micro_batch_rows: 8
  checkpoint_steps: 20
  compile: "off"
evaluate:
  max_new_tokens: 1
  retention: false
gate:
  beat_majority: false
  beat_nearest: false
{gate}{extra}""",
        encoding="utf-8",
    )
    return config
