"""Promotion, rollback, rejection: compare-and-swap and history."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.adapters import registry, release_history, releases
from tasks.adapters.release_history import Action, Champion, ReleaseStep, aliases, barred
from tasks.errors import ReleaseFailed, UsageError
from tests.tiny_release import NAME, champion, register


def step(version: int, action: Action, actor: str = "a test") -> ReleaseStep:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return ReleaseStep(version=version, adapter_digest=f"d{version}", action=action, actor=actor, reason="r", at=at)


def test_first_promotion_and_the_next(registry_home: Path, tiny_model: Path) -> None:
    champion(tiny_model, 1)
    register(tiny_model, 2)
    assert releases.promote(NAME, 2, 1, "ann", "better") == Champion(version=2, previous=1)
    assert release_history.champion(NAME) == Champion(version=2, previous=1)
    assert [v.alias for v in registry.versions(NAME)] == ["previous", "champion"]
    last = release_history.history(NAME)[-1]
    assert (last.action, last.actor, last.reason, last.version) == ("promoted", "ann", "better", 2)


def test_a_promotion_that_expected_another_champion_changes_nothing(registry_home: Path, tiny_model: Path) -> None:
    champion(tiny_model, 1)
    register(tiny_model, 2)
    for expected in (None, 7):
        with pytest.raises(ReleaseFailed, match="champion changed"):
            releases.promote(NAME, 2, expected, "ann", "better")
    assert release_history.champion(NAME) == Champion(version=1)
    assert [s.action for s in release_history.history(NAME)] == ["registered", "promoted", "registered"]


def test_of_two_simultaneous_promotions_one_wins(registry_home: Path, tiny_model: Path) -> None:
    champion(tiny_model, 1)
    for seed in (2, 3):
        register(tiny_model, seed)
    barrier, lost = threading.Barrier(2), list[int]()

    def promote(version: int) -> None:
        barrier.wait()
        try:
            releases.promote(NAME, version, 1, "racer", "first")
        except ReleaseFailed:
            lost.append(version)

    racers = [threading.Thread(target=promote, args=(version,)) for version in (2, 3)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    current = release_history.champion(NAME)
    assert current is not None
    assert lost == [5 - current.version]
    assert releases.reconcile(NAME)["champion"] == current.version
    assert registry.versions(NAME)[current.version - 1].alias == "champion"


def test_rollback_exchanges_champion_and_previous(registry_home: Path, tiny_model: Path) -> None:
    champion(tiny_model, 1)
    second = champion(tiny_model, 2)
    assert releases.rollback(NAME, "ann", "rude answers") == Champion(version=1, previous=2)
    assert [v.alias for v in registry.versions(NAME)] == ["champion", "previous"]
    decision = barred(release_history.history(NAME), second.adapter_digest)
    assert decision is not None
    assert (decision.action, decision.reason) == ("rolled_back", "rude answers")


def test_a_repeated_rollback_changes_nothing_but_finishes_the_first(registry_home: Path, tiny_model: Path) -> None:
    champion(tiny_model, 1)
    second = champion(tiny_model, 2)
    releases.rollback(NAME, "ann", "rude answers")
    registry.set_aliases(NAME, {"champion": 2, "previous": 1})  # as if the first had ended before the registry heard
    before = release_history.history(NAME)
    with pytest.raises(UsageError, match="version 2 was rolled back already; version 1 goes on serving") as refused:
        releases.rollback(NAME, "ann", "rude answers")
    assert "rude answers" in refused.value.why
    assert f"tuneloop models promote {NAME} 2" in refused.value.remedy
    assert release_history.champion(NAME) == Champion(version=1, previous=2)
    assert release_history.history(NAME) == before
    assert barred(before, second.adapter_digest) is not None
    assert [v.alias for v in registry.versions(NAME)] == ["champion", "previous"]
    releases.promote(NAME, 2, 1, "ann", "it was not the model")
    assert barred(release_history.history(NAME), second.adapter_digest) is None


def test_a_rejected_version_is_not_brought_back_by_a_rollback(registry_home: Path, tiny_model: Path) -> None:
    champion(tiny_model, 1)
    champion(tiny_model, 2)
    releases.reject(NAME, 1, "ann", "wrong tone")
    with pytest.raises(UsageError, match="version 1 was rejected already"):
        releases.rollback(NAME, "ann", "r")
    assert release_history.champion(NAME) == Champion(version=2, previous=1)


def test_rollback_needs_a_previous_version(registry_home: Path, tiny_model: Path) -> None:
    with pytest.raises(UsageError, match="no previous version"):
        releases.rollback(NAME, "ann", "r")
    champion(tiny_model, 1)
    with pytest.raises(UsageError, match="no previous version"):
        releases.rollback(NAME, "ann", "r")


def test_reject_takes_the_challenger_alias_away(registry_home: Path, tiny_model: Path) -> None:
    champion(tiny_model, 1)
    second = register(tiny_model, 2)
    releases.reject(NAME, 2, "ann", "wrong tone")
    assert [v.alias for v in registry.versions(NAME)] == ["champion", ""]
    assert barred(release_history.history(NAME), second.adapter_digest) is not None
    with pytest.raises(UsageError, match="champion cannot be rejected"):
        releases.reject(NAME, 1, "ann", "r")
    with pytest.raises(UsageError, match="no version 9"):
        releases.reject(NAME, 9, "ann", "r")


def test_promoting_the_champion_again_adds_no_history(registry_home: Path, tiny_model: Path) -> None:
    champion(tiny_model, 1)
    releases.promote(NAME, 1, 1, "ann", "again")
    assert [s.action for s in release_history.history(NAME)] == ["registered", "promoted"]


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.sampled_from(["registered", "waiting", "promoted", "rejected", "failed"]))
    ),
    st.one_of(st.none(), st.integers(1, 4)),
)
def test_aliases_never_name_a_decided_version_as_challenger(
    steps: list[tuple[int, Action]], current: int | None
) -> None:
    history = [step(version, action) for version, action in steps]
    named = aliases(Champion(version=current) if current else None, history)
    assert named.get("champion") == current
    challenger = named.get("challenger")
    if challenger is not None:
        assert challenger != current
        assert release_history.latest_action(history, challenger) in ("registered", "waiting", "failed")
