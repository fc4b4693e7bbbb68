"""The drift test: its error rate on undrifted traffic, its power on drifted traffic, what it says."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.monitor.config import MonitorConfig
from tasks.monitor.drift import (
    PERMUTATIONS,
    Prompts,
    Question,
    compare,
    markdown,
    new_terms,
    statistic_and_null,
)
from tasks.monitor.requests import asked, dataset_prompts
from tests.tiny_release import make_row

TOPICS = {
    "bikes": "brake chain wheel pedal saddle helmet tyre gear lock rental battery motor charger rack pump light",
    "money": "invoice charge refund price month paid card bill deposit receipt account bank fee cost total euro",
    "coffee": "espresso roast grinder crema beans filter milk kettle cup aroma barista dripper decaf latte brew",
}
COMMON = ["please", "my", "the", "not", "when"]
QUESTION = Question(model="m", version=3, dataset="ds://m/main@1.0.0", min_requests=30, p_value=0.01)


def texts(count: int, seed: int, topics: tuple[str, ...] = ("bikes", "money")) -> list[str]:
    """Messages of 5 to 14 words about one of the topics each."""
    chance = random.Random(seed)
    lists = [TOPICS[chance.choice(topics)].split() + COMMON for _ in range(count)]
    return [" ".join(chance.choices(words, k=chance.randint(5, 14))) for words in lists]


PROMPTS = Prompts(train=tuple(texts(200, seed=1)), test=tuple(texts(50, seed=2)))


def test_undrifted_requests_are_flagged_at_about_the_nominal_rate() -> None:
    reference, alpha, runs = PROMPTS.every, 0.1, 120
    flagged = 0
    for seed in range(runs):
        observed, null = statistic_and_null(texts(40, seed=100 + seed), reference, seed, permutations=99)
        flagged += (1 + sum(value >= observed for value in null)) / 100 <= alpha
    assert 2 <= flagged <= 24  # Binomial(120, 0.1) lies in 3..22 with 99.8%


def test_undrifted_requests_are_not_reported() -> None:
    reports = [compare(texts(40, seed=500 + seed), PROMPTS, QUESTION) for seed in range(5)]
    assert sum(report.drifted for report in reports) <= 1
    assert not compare(PROMPTS.test[:40], PROMPTS, QUESTION).drifted


def test_another_topic_is_reported_with_its_words() -> None:
    report = compare(texts(40, seed=3, topics=("coffee",)), PROMPTS, QUESTION)
    assert report.drifted
    assert report.p_value == 0.001
    assert "espresso" in report.new_terms
    assert "differ from the 250 prompts of ds://m/main@1.0.0" in report.reasons[0]
    assert "**Drift**" in markdown(report)


def test_a_quarter_of_another_topic_is_reported() -> None:
    mixed = texts(30, seed=4) + texts(10, seed=5, topics=("coffee",))
    assert compare(mixed, PROMPTS, QUESTION).drifted


def test_other_lengths_are_reported() -> None:
    assert compare([" ".join([text] * 12) for text in texts(40, seed=6)], PROMPTS, QUESTION).drifted


def test_a_client_that_repeats_itself_is_no_drift() -> None:
    for repeated in (["ping"] * 30, ["ping", "pong"] * 500, texts(5, seed=700) * 8):
        report = compare(repeated, PROMPTS, QUESTION)
        assert (report.drifted, report.p_value, report.requests) == (False, None, len(repeated))
        assert f"distinct texts among them {len(set(repeated))}; at least 30" in report.reasons[0]


def test_a_text_that_is_asked_again_counts_once() -> None:
    once = [*texts(39, seed=11), "ping"]
    told, again = compare(once, PROMPTS, QUESTION), compare([*once, *["ping"] * 960], PROMPTS, QUESTION)
    assert (again.drifted, again.requests) == (False, 1000)
    assert (again.statistic, again.p_value) == (told.statistic, told.p_value)
    assert f"compared: {len(set(once))};" in again.reasons[1]


def test_the_least_probability_that_can_be_asked_for_is_the_least_that_the_draws_can_show() -> None:
    least = 1 / (1 + PERMUTATIONS)
    assert MonitorConfig(p_value=least).p_value == least
    with pytest.raises(ValidationError, match=r"greater than or equal to 0\.001"):
        MonitorConfig(p_value=least / 2)
    strict = QUESTION.model_copy(update={"p_value": least})
    assert compare(texts(40, seed=3, topics=("coffee",)), PROMPTS, strict).drifted


def test_a_difference_as_large_as_the_datasets_own_is_no_drift() -> None:
    lopsided = Prompts(train=tuple(texts(200, 1, ("bikes",))), test=tuple(texts(60, 2, ("coffee",))))
    report = compare(texts(20, 8, ("bikes",)) + texts(40, 9, ("coffee",)), lopsided, QUESTION)
    assert report.p_value is not None
    assert report.p_value <= 0.01
    assert not report.drifted


def test_too_few_requests_decide_nothing() -> None:
    report = compare(texts(29, seed=3, topics=("coffee",)), PROMPTS, QUESTION)
    assert (report.drifted, report.p_value, report.requests) == (False, None, 29)
    assert "at least 30" in report.reasons[0]
    assert "Not enough different requests" in markdown(report)


def test_the_same_texts_give_the_same_report() -> None:
    requests = texts(40, seed=10)
    assert compare(requests, PROMPTS, QUESTION) == compare(requests, PROMPTS, QUESTION)


def test_new_terms_leave_out_rare_words_known_words_digits_and_placeholders() -> None:
    requests = [
        "brew for Anna <EMAIL_ADDRESS>",
        "brew it 12345678",
        "Brew <PHONE_NUMBER> again",
        "brake brew",
        "brake x",
    ]
    assert new_terms([*requests, "brake y"], ["the brake"]) == ("brew",)
    assert new_terms(["brew now"] * 9, ["the brake"]) == ()


def test_only_what_users_say_is_compared(tmp_path: Path) -> None:
    row = make_row(0, "where is it")
    (tmp_path / "train.jsonl").write_text(row.model_dump_json() + "\n")
    (tmp_path / "test.jsonl").write_text("")
    assert dataset_prompts(tmp_path) == Prompts(train=("where is it",), test=())
    assert asked(row.messages) == "where is it"
