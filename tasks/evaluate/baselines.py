"""What a model has to beat: systems that need no model at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tasks.contracts import Row
from tasks.evaluate.fields import AnswerForm, read_answer
from tasks.evaluate.rows import prompt_text
from tasks.similarity.nearest import nearest


def majority_answer(answers: Sequence[str], form: AnswerForm) -> str:
    """The most frequent training answer; with structured fields, one with the most frequent combination of them.

    Ties go to the answer that comes first in alphabetical order, so that the order of rows does not matter.
    """
    combinations = [tuple(sorted(read_answer(a, form).values.items())) if form.fields else (a,) for a in answers]
    counts = Counter(combinations)
    best = min(counts, key=lambda combination: (-counts[combination], combination))
    candidates = Counter(a for a, combination in zip(answers, combinations, strict=True) if combination == best)
    return min(candidates, key=lambda answer: (-candidates[answer], answer))


def nearest_answers(rows: Sequence[Row], training: Sequence[Row]) -> list[str]:
    """For every row the answer of the training row with the most similar prompt."""
    found = nearest([prompt_text(r) for r in rows], [prompt_text(r) for r in training])
    return [training[i].answer for i in found]
