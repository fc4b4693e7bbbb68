from __future__ import annotations

import pytest

from tasks.evaluate.retention import Probe, is_right, load_probes


def test_the_committed_questions_load_and_accept_their_own_answers() -> None:
    probes = load_probes()
    assert len(probes) == 24
    assert len({p.question for p in probes}) == 24
    for probe in probes:
        assert all(is_right(f"It is {accepted}.", probe) for accepted in probe.accept)
        assert not is_right('{"intent":"question","priority":"low"}', probe)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("4", True),
        ("2 + 2 = 4.", True),
        ("Four!", True),
        ("40", False),
        ("14", False),
        ("4.5", False),
        ("3.4", False),
        ("fourteen", False),
        ("4,", True),
        ("", False),
    ],
)
def test_numbers_match_as_words(answer: str, right: bool) -> None:
    assert is_right(answer, Probe(question="2+2?", accept=("4", "four"))) is right


def test_compatibility_forms_are_equal() -> None:
    assert is_right("H₂O", Probe(question="water?", accept=("h2o",)))
