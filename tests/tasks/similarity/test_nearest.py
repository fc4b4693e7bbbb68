from __future__ import annotations

import pytest

from tasks.similarity.nearest import nearest


def test_nearest_text_wins() -> None:
    corpus = ["my bike is broken", "where is my parcel", "cancel my plan please"]
    assert nearest(["the parcel, where is it", "bikes broke", "please cancel plan"], corpus) == [1, 0, 2]


def test_ties_go_to_the_earlier_text() -> None:
    assert nearest(["qqq"], ["abc def", "abc def"]) == [0]


def test_empty_corpus_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        nearest(["a"], [])


def test_no_queries() -> None:
    assert nearest([], ["abc"]) == []
