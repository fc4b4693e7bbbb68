from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.row_decisions import Decision, Overlay, fold, forget, history, of_persons, overlays, record
from tasks.contracts import Message
from tasks.digest import digest_of

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


def test_persons_who_were_named_in_a_repair_are_known_and_can_be_forgotten(registry_home: Path) -> None:
    made = [decision(i, "repair", messages=TALK, subjects=who) for i, who in (("a", ("anna", "bob")), ("b", ("eve",)))]
    for one in made:
        record(one)
    assert history() == made
    assert fold(made)[0].subjects == ("anna", "bob")
    assert fold([made[0], decision("a", "repair", messages=TALK)])[0].subjects == ()
    assert fold(made)[0].digest != fold([decision("a", "repair", messages=TALK)])[0].digest
    assert [d.row_id for d in of_persons((), ["bob", "carl"])] == ["a"]
    assert [d.row_id for d in of_persons(["b"], ["anna"])] == ["a", "b"]
    assert forget((), ["bob"]) == 1
    assert [d.row_id for d in history()] == ["b"]


def test_a_repair_that_names_nobody_keeps_the_digest_it_had_before_persons_were_noted() -> None:
    before = digest_of({"row_id": "a", "accepted": ["x"], "messages": []})
    assert Overlay(row_id="a", accepted=("x",)).digest == before


def test_a_decision_needs_a_reason() -> None:
    with pytest.raises(ValueError):
        Decision(row_id="a", action="accept", reason="", actor="me", at=datetime.now(UTC))
