"""Which language a row is written in, and how many of its words are obscene: both by tables of other libraries."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from tasks.errors import UsageError

UNKNOWN = "und"
_NO_LANGUAGE = "zxx"  # code, numbers, JSON
_FEWEST_LETTERS = 30
_LEAST_CONFIDENCE = 0.7
_SMALLEST_TEXT = 20  # words: one obscene word in a short answer counts as one in twenty
_LISTS = {
    "ar": "arabic", "zh": "chinese", "cs": "czech", "da": "danish", "nl": "dutch", "en": "english", "eo": "esperanto",
    "fi": "finnish", "fr": "french", "de": "german", "hi": "hindi", "hu": "hungarian", "it": "italian",
    "ja": "japanese", "ko": "korean", "no": "norwegian", "fa": "persian", "pl": "polish", "pt": "portuguese",
    "ru": "russian", "es": "spanish", "sv": "swedish", "th": "thai", "tr": "turkish",
}  # fmt: skip


def detect_language(text: str) -> tuple[str, float]:
    """ISO 639 code and confidence (0..1) by py3langid; `und` for a text that is too short to tell."""
    if sum(map(str.isalpha, text)) < _FEWEST_LETTERS:
        return UNKNOWN, 0.0
    code, confidence = _identifier().classify(text)
    if code == _NO_LANGUAGE or confidence < _LEAST_CONFIDENCE:
        return UNKNOWN, float(confidence)
    return str(code), float(confidence)


def check_codes(codes: Sequence[str]) -> None:
    """Refuse languages that are never recognised.

    Raises:
        UsageError: a code that is unknown.
    """
    unknown = sorted(set(codes) - set(_identifier().labels)) if codes else []
    if unknown:
        raise UsageError(
            "a language is not known",
            where=f"checks.languages: {', '.join(unknown)}",
            remedy="use ISO 639-1 codes such as en, de, fr",
        )


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@functools.cache
def obscene_words(codes: tuple[str, ...]) -> frozenset[str]:
    """Single words of the lists of glin-profanity for these languages; English where no language is named."""
    from glin_profanity.data.dictionary import dictionary

    lists: Any = [dictionary.get_words(_LISTS[c]) for c in codes or ("en",) if c in _LISTS]  # type: ignore[arg-type]
    return frozenset(word.lower() for words in lists for word in words if word.isalpha())


def toxicity(words: Sequence[str], obscene: frozenset[str]) -> float:
    """Share of the words that are obscene (0..1): a floor that sees words and no meaning."""
    if obscene.isdisjoint(words):
        return 0.0
    return sum(word in obscene for word in words) / max(_SMALLEST_TEXT, len(words))
