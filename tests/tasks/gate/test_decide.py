from __future__ import annotations

import json
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.contracts import Estimate, EvalReport, GateDecision, SystemScores
from tasks.gate.config import GateConfig
from tasks.gate.decide import decide
from tasks.gate.rendering import decision_markdown

CONFIG = GateConfig()


def scores(mean: float, retention: float | None = None) -> SystemScores:
    at = Estimate(mean=mean, low=max(0.0, mean - 0.05), high=min(1.0, mean + 0.05))
    return SystemScores(
        exact_match=at, field_accuracy=at, per_field={}, token_f1=at, rouge_l=at, valid_format=1.0, retention=retention
    )


def report(rows: int = 136, **differences: tuple[float, float, float]) -> EvalReport:
    """A good candidate, changed by what the test is about: name=(mean, low, high)."""
    usual = {"base": (0.6, 0.5, 0.7), "majority": (0.5, 0.4, 0.6), "nearest": (0.4, 0.3, 0.5)}
    found = {n: Estimate(mean=m, low=lo, high=hi) for n, (m, lo, hi) in {**usual, **differences}.items()}
    return EvalReport(
        uri="u",
        digest="d",
        rows=rows,
        rows_available=rows,
        metric="exact_match",
        metric_reason="",
        fields=("intent",),
        systems={"tuned": scores(0.7), **{n: scores(0.1) for n in found}},
        differences=found,
        seconds=1,
    )


def with_retention(before: float | None, after: float | None) -> EvalReport:
    plain = report()
    systems = {**plain.systems, "base": scores(0.1, before), "tuned": scores(0.7, after)}
    return plain.model_copy(update={"systems": systems})


def refused_rules(decision: GateDecision) -> list[str]:
    return [r.rule for r in decision.reasons if not r.passed]


def text_of(decision: GateDecision, rule: str) -> str:
    return next(r.text for r in decision.reasons if r.rule == rule)


def test_a_good_candidate_passes_every_rule() -> None:
    decision = decide(report(), CONFIG)
    assert decision.passed
    assert [r.rule for r in decision.reasons] == [
        "comparison",
        "enough_rows",
        "min_score",
        "gain_over_base",
        "beats_majority",
        "beats_nearest",
        "not_worse_than_champion",
        "retention",
    ]
    assert all(r.text.endswith(".") for r in decision.reasons)


def test_shuffled_labels_beat_the_base_but_neither_baseline() -> None:
    decision = decide(report(majority=(0.0, -0.05, 0.05), nearest=(-0.2, -0.3, -0.1)), CONFIG)
    assert refused_rules(decision) == ["beats_majority", "beats_nearest"]
    assert "20.0 points of exact match (paired 95% interval -30.0 to -10.0) worse than copying" in " ".join(
        decision.refusals
    )


@pytest.mark.parametrize(
    ("judged", "config", "rule"),
    [
        (report(rows=29), CONFIG, "enough_rows"),
        (report(), GateConfig(min_score=0.71), "min_score"),
        (report(base=(0.2, 0.05, 0.3)), CONFIG, "gain_over_base"),
        (report(base=(0.6, 0.5, 0.7)), GateConfig(min_gain_over_base=0.5), "gain_over_base"),
        (report(majority=(0.1, 0.0, 0.2)), CONFIG, "beats_majority"),
        (report(nearest=(0.1, -0.01, 0.2)), CONFIG, "beats_nearest"),
        (report(champion=(-0.021, -0.06, 0.02)), CONFIG, "not_worse_than_champion"),
        (report(champion=(-0.01, -0.06, 0.02)), GateConfig(max_loss_to_champion=0.0), "not_worse_than_champion"),
        (with_retention(0.8, 0.5), CONFIG, "retention"),
        (with_retention(0.8, 0.7), GateConfig(min_retention_share=0.9), "retention"),
    ],
)
def test_each_rule_refuses_alone(judged: EvalReport, config: GateConfig, rule: str) -> None:
    assert refused_rules(decide(judged, config)) == [rule]


def test_rules_that_are_switched_off_say_so() -> None:
    judged = report(majority=(-0.1, -0.2, 0.0), nearest=(-0.1, -0.2, 0.0))
    decision = decide(judged, GateConfig(beat_majority=False, beat_nearest=False))
    assert decision.passed
    assert "not asked for (gate.beat_majority)" in text_of(decision, "beats_majority")
    assert "not asked for (gate.beat_nearest)" in text_of(decision, "beats_nearest")


def test_an_equal_candidate_may_follow_its_champion_and_hears_what_is_not_excluded() -> None:
    decision = decide(report(champion=(-0.015, -0.06, 0.03)), CONFIG)
    assert decision.passed
    assert "A true loss of up to 6.0 points is not excluded" in text_of(decision, "not_worse_than_champion")


def test_retention_that_was_not_measured_or_had_nothing_to_keep() -> None:
    assert "not probed" in text_of(decide(report(), CONFIG), "retention")
    assert "nothing to keep" in text_of(decide(with_retention(0.0, 0.0), CONFIG), "retention")
    assert "small" in text_of(decide(with_retention(0.8, 0.7), CONFIG), "retention")


@pytest.mark.parametrize("lost", ["base", "majority", "nearest", "tuned"])
def test_a_comparison_without_a_needed_system_is_refused(lost: str) -> None:
    whole = report()
    part = whole.model_copy(
        update={
            "systems": {n: s for n, s in whole.systems.items() if n != lost},
            "differences": {n: d for n, d in whole.differences.items() if n != lost},
        }
    )
    decision = decide(part, CONFIG)
    assert refused_rules(decision) == ["comparison"]
    assert lost in decision.refusals[0]


def test_numbers_that_are_none_and_no_rows_are_refused() -> None:
    assert refused_rules(decide(report(base=(float("nan"),) * 3), CONFIG)) == ["comparison"]
    assert refused_rules(decide(report(rows=0), CONFIG)) == ["comparison"]


def test_the_markdown_has_one_row_a_rule() -> None:
    decision = decide(report(majority=(0.0, -0.05, 0.05)), CONFIG)
    text = decision_markdown(decision)
    assert "# Gate: refused (1 of 8 rules)" in text
    assert text.count("| ✓ |") == 7
    assert text.count("| ✗ |") == 1
    assert "# Gate: passed" in decision_markdown(decide(report(), CONFIG))


@settings(deadline=None)
@given(
    st.floats(-1, 1),
    st.floats(-1, 1),
    st.floats(-1, 1),
    st.integers(0, 200),
    st.floats(0, 1),
    st.floats(0, 1),
    st.builds(
        GateConfig,
        min_rows=st.integers(1, 60),
        min_score=st.floats(0, 1),
        min_gain_over_base=st.floats(0, 1),
        beat_majority=st.booleans(),
        beat_nearest=st.booleans(),
        max_loss_to_champion=st.floats(0, 1),
        min_retention_share=st.floats(0, 1),
    ),
)
def test_every_refusal_has_a_reason_and_every_pass_has_none(
    base: float, nearest: float, champion: float, rows: int, before: float, after: float, config: GateConfig
) -> None:
    found = report(
        rows, **{n: (m, m - 0.1, m + 0.1) for n, m in (("base", base), ("nearest", nearest), ("champion", champion))}
    )
    judged = found.model_copy(
        update={"systems": {**found.systems, "base": scores(0.1, before), "tuned": scores(0.7, after)}}
    )
    decision = decide(judged, config)
    assert decision.passed == (not decision.refusals)
    assert all(r.text and "nan" not in r.text for r in decision.reasons)
    assert json.loads(decision.model_dump_json())["passed"] == decision.passed


# --- from rows to verdict: the statistics and the gate together -------------------------------------------------


def verdict(candidate: Sequence[float], others: dict[str, Sequence[float]], shares: bool, config: GateConfig) -> bool:
    """The gate's answer to per-row scores, by the same functions that the evaluation uses."""
    from tasks.evaluate.statistics import mean_interval, paired_difference

    def system(values: Sequence[float]) -> SystemScores:
        at = mean_interval(values)
        return scores(at.mean).model_copy(update={"exact_match": at, "token_f1": at})

    judged = EvalReport(
        uri="u",
        digest="d",
        rows=len(candidate),
        rows_available=len(candidate),
        metric_reason="",
        fields=(),
        seconds=0,
        metric="exact_match" if shares else "token_f1",
        systems={"tuned": system(candidate), **{n: system(v) for n, v in others.items()}},
        differences={n: paired_difference(candidate, v, 17, shares=shares) for n, v in others.items()},
    )
    return decide(judged, config).passed


def drawn(random_source: random.Random, rows: int, level: float, shares: bool) -> list[float]:
    if shares:
        return [float(random_source.random() < level) for _ in range(rows)]
    return [min(1.0, max(0.0, random_source.gauss(level, 0.3))) for _ in range(rows)]


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10**6),
    st.booleans(),
    st.integers(1, 60),
    st.floats(0, 1),
    st.floats(0, 0.6),
    st.floats(0, 1),
    st.integers(1, 20),
)
def test_better_answers_never_turn_a_pass_into_a_refusal_and_order_means_nothing(
    seed: int, shares: bool, rows: int, level: float, rivals: float, champion: float, improved_rows: int
) -> None:
    source = random.Random(seed)
    config = GateConfig(min_rows=1, min_score=0.3)
    levels = {"base": 0.02, "majority": rivals / 2, "nearest": rivals, "champion": champion}
    others = {n: drawn(source, rows, at, shares) for n, at in levels.items()}
    candidate = drawn(source, rows, level, shares)
    passed = verdict(candidate, others, shares, config)
    better = list(candidate)
    for place in source.sample(range(rows), min(improved_rows, rows)):
        better[place] = 1.0 if shares else source.uniform(better[place], 1.0)
    assert verdict(better, others, shares, config) >= passed
    order = source.sample(range(rows), rows)
    moved = {n: [v[i] for i in order] for n, v in others.items()}
    assert verdict([candidate[i] for i in order], moved, shares, config) == passed
