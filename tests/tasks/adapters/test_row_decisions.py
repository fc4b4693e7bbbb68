from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.row_decisions import Decision, Overlay, fold, forget, history, overlays, record
from tasks.contracts import Message

TALK = (Message(role="user", content="q"), Message(role="assistant", content="a"))


def decision(row_id: str, action: Any, **values: Any) -> Decision:
    return Decision(row_id=row_id, action=action, reason="because", actor="me", at=datetime.now(UTC), **values)


def test_what_is_stored_is_what_was_decided(registry_home: Path) -> None:
    made = [decision("a:1", "accept", rule="too_short"), decision("b:2", "repair", messages=TALK)]
    for one in made:
        record(one)
    assert history() == made
    assert history(["b:2"]) == made[1:]
    assert overlays() == (Overlay(row_id="a:1", accepted=("too_short",)), Overlay(row_id="b:2", messages=TALK))


def test_later_decisions_are_added_to_earlier_ones() -> None:
    other = (TALK[0], Message(role="assistant", content="other"))
    made = [
        decision("a", "accept", rule="z"),
        decision("a", "accept", rule="b"),
        decision("a", "repair", messages=TALK),
        decision("a", "repair", messages=other),
    ]
    assert fold(made) == (Overlay(row_id="a", accepted=("b", "z"), messages=other),)
    assert fold([*made, decision("a", "withdraw")]) == ()
    assert fold([*made, decision("a", "withdraw"), decision("a", "accept", rule="z")])[0].accepted == ("z",)


def test_the_digest_says_what_takes_effect() -> None:
    one, two = Overlay(row_id="a", accepted=("x",)), Overlay(row_id="a", accepted=("y",))
    assert one.digest != two.digest
    assert one.digest == Overlay(row_id="a", accepted=("x",)).digest


def test_an_erased_row_takes_its_decisions_with_it(registry_home: Path) -> None:
    for row_id in ("a:1", "a:1", "b:2"):
        record(decision(row_id, "repair", messages=TALK))
    assert forget(["a:1", "c:3"]) == 2
    assert [d.row_id for d in history()] == ["b:2"]


def test_a_decision_needs_a_reason() -> None:
    with pytest.raises(ValueError):
        Decision(row_id="a", action="accept", reason="", actor="me", at=datetime.now(UTC))
