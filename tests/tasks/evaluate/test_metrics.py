from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.evaluate.fields import find_form
from tasks.evaluate.metrics import perplexity, rouge_l, score_row, token_f1
from tests.tasks.evaluate.answer_rows import ticket, tickets

FORM = find_form([row.answer for row in tickets(30)])


def test_structured_fields_decide_exact_match_and_text_only_the_overlap() -> None:
    want = ticket("billing", "finance", "We will check the invoice.")
    score = score_row(ticket("billing", "workshop", "We will check the bike."), want, FORM)
    assert (score.exact_match, score.field_accuracy) == (0.0, 0.5)
    assert score.per_field == {"intent": 1.0, "team": 0.0}
    assert score.token_f1 == pytest.approx(0.75)
    assert score.rouge_l == pytest.approx(0.8)
    other_words = score_row(ticket("billing", "finance", "Quite different."), want, FORM)
    assert (other_words.exact_match, other_words.token_f1, other_words.valid) == (1.0, 0.0, True)


def test_an_empty_answer_scores_nothing() -> None:
    score = score_row("", ticket("billing", "finance", "We will."), FORM)
    assert (score.exact_match, score.field_accuracy, score.token_f1, score.rouge_l, score.valid) == (0, 0, 0, 0, False)


def test_free_text_compares_the_whole_answer() -> None:
    form = find_form([f"sentence number {i}" for i in range(20)])
    assert score_row(" same words ", "same words", form).exact_match == 1.0
    assert score_row("same word", "same words", form).field_accuracy == 0.0


def test_labels_are_valid_only_if_known() -> None:
    form = find_form(["yes", "no"] * 10)
    assert score_row("yes", "yes", form).model_dump(include={"exact_match", "valid"}) == {
        "exact_match": 1,
        "valid": True,
    }
    assert not score_row("yes.", "yes", form).valid


def test_squad_f1_ignores_case_articles_and_punctuation() -> None:
    assert token_f1("The Eiffel Tower!", "eiffel tower") == 1.0
    assert token_f1("", "") == 1.0
    assert token_f1("the", "a") == 1.0
    assert token_f1("one two", "two three") == 0.5
    assert token_f1("„Don’t“ – he said…", "dont he said") == 1.0
    assert token_f1("🙂", "🙁") == 0.0


@pytest.mark.parametrize(
    ("answer", "reference", "score"),
    [
        ("東京です。", "東京", 2 / 3),
        ("我们会检查发票", "我们会检查账单。", 10 / 14),
        ("ขอบคุณ", "ขอบคุณค่ะ", 12 / 15),
        ("ຂອບໃຈ", "ຂອບ", 6 / 8),
        ("សូម", "សូមអ", 6 / 7),
        ("ကျေး", "ကျ", 4 / 6),
        ("die 東京 Reise", "東京 Reise", 6 / 7),
    ],
)
def test_what_is_written_without_spaces_is_compared_by_its_characters(
    answer: str, reference: str, score: float
) -> None:
    assert token_f1(answer, reference) == pytest.approx(score)
    assert 0 < rouge_l(answer, reference) < 1


def test_other_scripts_are_compared_by_words() -> None:
    assert token_f1("हिन्दी भाषा।", "हिन्दी भाषा") == 1.0
    assert token_f1("हिन्दी", "हिन्द") == 0.0
    assert token_f1("안녕 하세요", "안녕 친구") == 0.5


def test_rouge_l_follows_the_longest_common_subsequence() -> None:
    assert rouge_l("police kill the gunman", "police killed the gunman") == pytest.approx(0.75)
    assert rouge_l("der Zug fährt später", "der Zug fährt später") == 1.0
    assert rouge_l("東京", "東京都") == pytest.approx(0.8)
    assert rouge_l("", "") == 1.0


@given(st.text(max_size=60), st.text(max_size=60))
def test_scores_are_shares_and_symmetric_where_they_should_be(a: str, b: str) -> None:
    assert 0 <= token_f1(a, b) <= 1
    assert 0 <= rouge_l(a, b) <= 1
    assert token_f1(a, b) == token_f1(b, a)
    assert token_f1(a, a) == rouge_l(a, a) == 1.0


def test_perplexity_weighs_tokens_not_rows() -> None:
    assert perplexity([(math.log(2) * 30, 30), (math.log(8) * 10, 10)]) == pytest.approx(2**1.5)
    assert math.isfinite(perplexity([(1e9, 1)]))
    for broken in ([], [(math.nan, 3)], [(math.inf, 3)]):
        with pytest.raises(ValueError, match="finite"):
            perplexity(broken)
