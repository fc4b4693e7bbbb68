"""The request log."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tasks.adapters import request_log
from tasks.adapters.request_log import LoggedRequest
from tasks.contracts import Message


def logged(number: int, hours_ago: float, model: str = "m") -> LoggedRequest:
    return LoggedRequest(
        id=f"chatcmpl-{number}",
        at=datetime.now(UTC) - timedelta(hours=hours_ago),
        model=model,
        version=1,
        agent="desk",
        user="",
        prompt=(Message(role="user", content="où est mon vélo"),),
        answer="oui",
        prompt_tokens=5,
        completion_tokens=1,
        milliseconds=7,
    )


def test_recent_gives_the_window_of_one_model_in_order(home: Path) -> None:
    for number, hours, model in ((1, 30, "m"), (2, 2, "m"), (3, 1, "m"), (4, 1, "other")):
        request_log.append(logged(number, hours, model))
    found = request_log.recent("m", 24)
    assert [request.id for request in found] == ["chatcmpl-2", "chatcmpl-3"]
    assert found[0].prompt == (Message(role="user", content="où est mon vélo"),)


def test_a_user_tag_becomes_a_keyed_hash_of_this_home(home: Path) -> None:
    tag = request_log.user_hash("ann@example.com")
    assert tag == request_log.user_hash("ann@example.com") != request_log.user_hash("bob")
    assert len(tag) == 32
    assert "ann" not in tag
    assert request_log.user_hash("") == ""
    key = home / "keys" / "user_tags.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.unlink()
    assert request_log.user_hash("ann@example.com") != tag


def test_requests_are_found_by_who_is_named_in_them_until_they_are_deleted(home: Path) -> None:
    request_log.append(logged(1, 1), ("a" * 32, "b" * 32), "key")
    request_log.append(logged(2, 1), ("b" * 32,), "key")
    request_log.append(logged(3, 1))
    assert request_log.of_subjects(["a" * 32]) == ("chatcmpl-1",)
    assert request_log.of_subjects(["b" * 32, "c" * 32]) == ("chatcmpl-1", "chatcmpl-2")
    assert request_log.by_key() == {"": 1, "key": 2}
    assert request_log.delete(["chatcmpl-1"]) == 1
    assert request_log.of_subjects(["a" * 32, "b" * 32]) == ("chatcmpl-2",)
