"""What users asked: recent requests and the prompts of a dataset version, as texts that can be compared. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.contracts import Message, Row
from tasks.monitor.drift import Prompts


def asked(messages: Sequence[Message]) -> str:
    """The text of the user's turns. System prompts are the operator's, answers the model's: both do not count."""
    return "\n".join(message.content for message in messages if message.role == "user")


def dataset_prompts(folder: Path) -> Prompts:
    """Prompts of the rows of a dataset version's folder."""
    return Prompts(train=_prompts(folder / "train.jsonl"), test=_prompts(folder / "test.jsonl"))


def _prompts(file: Path) -> tuple[str, ...]:
    with file.open(encoding="utf-8") as lines:
        return tuple(asked(Row.model_validate_json(line).prompt) for line in lines if line.strip())
