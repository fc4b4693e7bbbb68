"""Scores of one answer against its reference, and perplexity. Every score lies in 0..1; higher is better."""

from __future__ import annotations

import functools
import math
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tasks.contracts import Record
from tasks.evaluate.fields import AnswerForm, read_answer

_ARTICLES = re.compile(r"\b(a|an|the)\b")
# Scripts that are written without spaces: Thai, Lao, Tibetan; Myanmar; Khmer; kana; ideographs; kana of half width.
_SPACELESS = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
# One character of such a script, or a run of other characters: of a word, or of anything but white space.
_WORD = re.compile(rf"[{_SPACELESS}]|[^\W{_SPACELESS}]+")
_TOKEN = re.compile(rf"[{_SPACELESS}]|[^\s{_SPACELESS}]+")


class RowScore(Record):
    """All scores of one system on one row."""

    exact_match: float
    field_accuracy: float
    per_field: dict[str, float]
    token_f1: float
    rouge_l: float
    valid: bool


def score_row(answer: str, reference: str, form: AnswerForm) -> RowScore:
    """Scores of an answer.

    exact_match: all structured fields are right; without structured fields the whole answer is equal.
    field_accuracy: share of structured fields that are right; without structured fields the same as exact_match.
    token_f1, rouge_l: on the free text (the text fields of a JSON answer; the whole answer where there are none).
    """
    got, want = read_answer(answer, form), read_answer(reference, form)
    right = {f: float(f in want.values and got.values.get(f) == want.values[f]) for f in form.fields}
    exact = float(all(right.values())) if form.fields else float(answer.strip() == reference.strip())
    return RowScore(
        exact_match=exact,
        field_accuracy=sum(right.values()) / len(right) if right else exact,
        per_field=right,
        token_f1=token_f1(got.text, want.text),
        rouge_l=rouge_l(got.text, want.text),
        valid=got.valid,
    )


def token_f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall over the bags of tokens.

    The definition of SQuAD v1.1 (Rajpurkar et al. 2016, section 6.1) and of its evaluation script: lower case, without
    punctuation and the articles a, an, the. Two empty texts are equal (1.0), as in the script of SQuAD 2.0. Beyond it,
    as in MLQA (Lewis et al. 2020), punctuation is that of every script, and what is written without spaces is compared
    by its characters: a whole sentence would be one token there.
    """
    got, want = _squad_tokens(answer), _squad_tokens(reference)
    if not got or not want:
        return float(got == want)
    same = sum((Counter(got) & Counter(want)).values())
    return 2 * same / (len(got) + len(want))


def rouge_l(answer: str, reference: str) -> float:
    """F-measure of the longest common subsequence of words (Lin 2004), without stemming.

    `rouge_score`'s own tokeniser knows only a-z and 0-9; ours takes words of every script.
    """
    if not _words(answer) or not _words(reference):
        return float(_words(answer) == _words(reference))
    return float(_rouge().score(reference, answer)["rougeL"].fmeasure)


def perplexity(losses: Sequence[tuple[float, int]]) -> float:
    """exp of the mean negative log-likelihood per token, over all answer tokens of all rows.

    Args:
        losses: for each row the summed NLL in nats and the number of answer tokens.

    Raises:
        ValueError: no tokens, or a loss that is not a number.
    """
    tokens = sum(count for _, count in losses)
    mean = sum(nll for nll, _ in losses) / tokens if tokens else math.nan
    if not math.isfinite(mean):
        raise ValueError("the losses of the reference answers are not finite numbers")
    return math.exp(min(mean, 80.0))  # 80 nats a token is far beyond anything that could be told apart


def _squad_tokens(text: str) -> list[str]:
    kept = "".join(sign for sign in text.lower() if not _is_punctuation(sign))
    return _TOKEN.findall(_ARTICLES.sub(" ", kept))


@functools.lru_cache(maxsize=4096)
def _is_punctuation(sign: str) -> bool:
    return sign in string.punctuation or unicodedata.category(sign).startswith("P")


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


@functools.lru_cache(maxsize=1)
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=_Words())


class _Words:
    """The interface of rouge_score's tokenisers."""

    def tokenize(self, text: str) -> list[str]:
        return _words(text)
