"""What the smoke call complains about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.candidate_server import Reply
from tasks.contracts import Message
from tasks.release.smoke import pick_prompts, problems
from tests.tiny_release import write_rows

PROMPTS = ((Message(role="user", content="x"),),)


def reply(status: int = 200, **changes: Any) -> Reply:
    message = {"role": "assistant", "content": changes.pop("content", "fine"), "refusal": None}
    body = {"model": "m@2", "choices": [{"message": message}], "usage": {"prompt_tokens": 1}, **changes}
    return Reply(status=status, body=json.dumps(body))


def complaint(answer: Reply) -> list[str]:
    return problems(PROMPTS, lambda _: answer, len, "m@2")


def test_a_right_answer_is_not_complained_about() -> None:
    assert complaint(reply()) == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (reply(content=" \n"), "the answer is empty"),
        (reply(model="m@1"), "answered by m@1, not by m@2"),
        (reply(usage={"prompt_tokens": 9}), "the server saw 9 prompt tokens; in training they are 1"),
        (reply(choices=[]), "the answer is empty"),
        (reply(usage=None), "not a chat completion: 1 fields are wrong"),
        (Reply(status=200, body="<html>"), "not a chat completion"),
        (Reply(status=503, body='{"error": {"code": "model_not_ready"}}'), "HTTP 503 model_not_ready"),
        (Reply(status=0, body='{"error": {"code": "ReadTimeout"}}'), "HTTP 0 ReadTimeout"),
        (Reply(status=502, body="bad gateway"), "HTTP 502"),
    ],
)
def test_what_is_wrong_is_said(answer: Reply, said: str) -> None:
    (found,) = complaint(answer)
    assert found.startswith(f"prompt 1: {said}")


def test_prompts_are_spread_over_the_held_out_rows(tmp_path: Path) -> None:
    write_rows(tmp_path / "test.jsonl", [f"row {number}" for number in range(9)])
    chosen = [prompt[0].content for prompt in pick_prompts(tmp_path / "test.jsonl", 3)]
    assert chosen == ["row 0", "row 3", "row 6"]
    assert len(pick_prompts(tmp_path / "test.jsonl", 50)) == 9
    assert all(prompt[-1].role == "user" for prompt in pick_prompts(tmp_path / "test.jsonl", 50))


def test_a_prompt_with_other_separators_of_lines_is_asked(tmp_path: Path) -> None:
    write_rows(tmp_path / "test.jsonl", ["one\u2028two\u0085three"])
    assert pick_prompts(tmp_path / "test.jsonl", 3)[0][0].content == "one\u2028two\u0085three"
