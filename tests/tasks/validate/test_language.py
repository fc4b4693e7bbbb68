from __future__ import annotations

import pytest

from tasks.errors import UsageError
from tasks.validate.language import UNKNOWN, check_codes, detect_language, obscene_words, toxicity


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Where is my bicycle? It was promised for nine this morning.", "en"),
        ("Wo ist mein Fahrrad? Es sollte um neun hier sein.", "de"),
        ("Où est mon vélo ? Il devait arriver à neuf heures ce matin.", "fr"),
        ("hello", UNKNOWN),
        ('{"intent":"billing","priority":"normal","queue":17}', UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_languages(text: str, code: str) -> None:
    assert detect_language(text)[0] == code


def test_unknown_codes_are_refused() -> None:
    check_codes(("en", "de"))
    check_codes(())
    with pytest.raises(UsageError, match="language is not known"):
        check_codes(("en", "xq"))


def test_obscene_words_are_counted_as_a_share() -> None:
    obscene = obscene_words(())
    assert toxicity(["what", "a", "nice", "day"], obscene) == 0
    assert toxicity(["you", "are", "an", "asshole"], obscene) == pytest.approx(1 / 20)
    assert toxicity(["shit"] * 30, obscene) == 1
    assert toxicity([], obscene) == 0


def test_lists_of_the_configured_languages() -> None:
    assert "arschloch" in obscene_words(("de",))
    assert "asshole" not in obscene_words(("de",))
