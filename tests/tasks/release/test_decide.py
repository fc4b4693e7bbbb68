"""Whether a version may be promoted without a person's word."""

from __future__ import annotations

from datetime import UTC, datetime

from tasks.adapters.release_history import Action, Champion, ReleaseStep
from tasks.contracts import RegisteredModel
from tasks.release.decide import Plan, decide


def plan(
    history: tuple[tuple[int, Action], ...] = (),
    champion: int | None = None,
    compared_with: int | None = None,
    approval: str = "automatic",
    version: int = 3,
) -> Plan:
    model = RegisteredModel(name="m", version=version, run_id="r", adapter_digest=f"d{version}", new=True)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    steps = [
        ReleaseStep(version=v, adapter_digest=f"d{v}", action=a, actor="ann", reason="rude", at=at) for v, a in history
    ]
    serving = Champion(version=champion) if champion else None
    return decide(model, steps, serving, compared_with, approval)  # type: ignore[arg-type]


def test_the_first_and_the_next_version_are_promoted() -> None:
    assert plan().action == "promote"
    assert plan(champion=2, compared_with=2) == Plan(
        action="promote", text="version 3 passed the gate against version 2", serving=2
    )


def test_the_champion_is_left_alone() -> None:
    assert plan(champion=3, approval="required").action == "already_champion"


def test_approval_makes_it_wait() -> None:
    assert plan(champion=2, compared_with=2, approval="required").action == "waiting_for_approval"


def test_with_approval_a_person_hears_of_a_stale_comparison_and_decides() -> None:
    waiting = plan(champion=2, compared_with=1, approval="required")
    assert waiting.action == "waiting_for_approval"
    assert "compared with version 1, but now version 2 serves" in waiting.text


def test_a_persons_decision_stands() -> None:
    for action in ("rolled_back", "rejected"):
        kept = plan(((3, "registered"), (3, "promoted"), (3, action)), champion=2, compared_with=2)  # type: ignore[arg-type]
        assert kept.action == "kept_previous"
        assert "by ann: rude" in kept.text
    assert plan(((3, "rejected"), (3, "promoted")), champion=2, compared_with=2).action == "promote"


def test_a_decision_about_another_version_does_not_count() -> None:
    assert plan(((2, "rejected"),)).action == "promote"


def test_a_failed_release_may_be_tried_again() -> None:
    assert plan(((3, "registered"), (3, "failed"))).action == "promote"


def test_a_comparison_with_another_champion_proves_nothing() -> None:
    for champion, compared_with in ((2, None), (2, 1), (None, 1)):
        kept = plan(champion=champion, compared_with=compared_with)
        assert kept.action == "kept_previous"
        assert "was compared with" in kept.text
