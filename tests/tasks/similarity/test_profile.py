from __future__ import annotations

from tasks.similarity.profile import MIN_ROWS_OF_WORD, length_class, profile, word_hash


def test_only_frequent_words_are_kept_and_hashed() -> None:
    made = profile(["where is my bike"] * MIN_ROWS_OF_WORD + ["rare secret <EMAIL_ADDRESS>"])
    assert made.words[word_hash("bike")] == MIN_ROWS_OF_WORD
    assert word_hash("secret") not in made.words
    assert "bike" not in made.model_dump_json()
    assert sum(made.lengths) == made.rows == MIN_ROWS_OF_WORD + 1


def test_labels_are_counted_and_free_text_is_not() -> None:
    answers = ['{"intent":"app","n":1,"reply":"We will look at it with you in the shop this afternoon."}'] * 6
    made = profile(["x"] * 7, [*answers, '{"intent":"somebody"}'])
    assert made.answers == {"intent": {"app": 6}, "n": {"1": 6}}
    assert profile(["x"] * 5, ["card"] * 5).answers == {"": {"card": 5}}


def test_length_classes_cover_everything() -> None:
    assert length_class("one") == 0
    assert length_class("w " * 5) == 1
    assert length_class("w " * 5000) == 12
