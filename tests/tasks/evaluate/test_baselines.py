from __future__ import annotations

import json

from tasks.evaluate.baselines import majority_answer, nearest_answers
from tasks.evaluate.fields import find_form
from tests.tasks.evaluate.answer_rows import row, ticket, tickets


def test_the_majority_is_that_of_the_structured_fields() -> None:
    answers = [ticket("billing", "finance", f"We {i}.") for i in range(8)] + [ticket("app", "digital", "We see.")] * 6
    found = json.loads(majority_answer(answers, find_form(answers)))
    assert (found["intent"], found["team"]) == ("billing", "finance")
    assert majority_answer(answers[::-1], find_form(answers)) == majority_answer(answers, find_form(answers))


def test_the_majority_of_labels_and_texts() -> None:
    assert majority_answer(["no", "yes", "yes"] * 5, find_form(["no", "yes", "yes"] * 5)) == "yes"
    texts = [f"text {i}" for i in range(20)] + ["text 7"]
    assert majority_answer(texts, find_form(texts)) == "text 7"


def test_nearest_copies_the_answer_of_the_most_similar_prompt() -> None:
    training = [*tickets(12), row("the parcel from Ghent never came", "PARCEL", 99)]
    assert nearest_answers([row("my parcel never came to Ghent", "?", 100)], training) == ["PARCEL"]
