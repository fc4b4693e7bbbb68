from __future__ import annotations

from pathlib import Path

import pytest

from tasks.adapters.store import Store
from tasks.contracts import Estimate, EvalReport
from tasks.gate.config import GateConfig
from tasks.gate.task import stored_verdict
from tests.deployments.example_outcome import report, trained


@pytest.fixture
def store(home: Path) -> Store:
    return Store.open()


def with_champion(lost: float) -> EvalReport:
    """The same comparison with a champion, and so with another digest."""
    plain = report()
    found = Estimate(mean=-lost, low=-lost - 0.05, high=-lost + 0.05)
    return plain.model_copy(
        update={
            "digest": "d" * 64,
            "champion_version": 2,
            "systems": {**plain.systems, "champion": plain.systems["tuned"]},
            "differences": {**plain.differences, "champion": found},
        }
    )


def test_a_verdict_is_decided_once_and_then_repeated(store: Store) -> None:
    for judged, config in ((report(), GateConfig()), (with_champion(0.5), GateConfig(min_score=0.99))):
        first, new = stored_verdict(store, trained(), judged, config)
        assert new
        assert stored_verdict(store, trained(), judged, config) == (first, False)


def test_another_adapter_report_or_config_is_judged_anew(store: Store) -> None:
    stored_verdict(store, trained(), report(), GateConfig())
    for model, judged, config in (
        (trained().model_copy(update={"adapter_digest": "9" * 64}), report(), GateConfig()),
        (trained(), report().model_copy(update={"digest": "9" * 64}), GateConfig()),
        (trained(), report(), GateConfig(min_score=0.99)),
    ):
        assert stored_verdict(store, model, judged, config)[1]


def test_what_passed_without_a_champion_has_not_passed_against_one(store: Store) -> None:
    alone, _ = stored_verdict(store, trained(), report(), GateConfig())
    against, new = stored_verdict(store, trained(), with_champion(0.5), GateConfig())
    assert (alone.passed, against.passed, new) == (True, False, True)
    assert [r.rule for r in against.reasons if not r.passed] == ["not_worse_than_champion"]
