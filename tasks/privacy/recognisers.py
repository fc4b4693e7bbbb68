"""Presidio's recognisers without its NLP engine.

`import presidio_analyzer` loads spaCy and through it torch (6 s, and torch in a process that must stay small), though
the pattern recognisers need neither. So their modules are loaded below bare package shells (0.1 s), which leave
`sys.modules` again: whoever imports `presidio_analyzer` later gets the real package.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PACKAGE = "presidio_analyzer"
_GENERIC = f"{_PACKAGE}.predefined_recognizers.generic"
_BASICS = {
    "analysis_explanation": "AnalysisExplanation",
    "recognizer_result": "RecognizerResult",
    "entity_recognizer": "EntityRecognizer",
    "local_recognizer": "LocalRecognizer",
    "pattern": "Pattern",
    "pattern_recognizer": "PatternRecognizer",
}
_CLASSES = {
    "EMAIL_ADDRESS": ("email_recognizer", "EmailRecognizer"),
    "PHONE_NUMBER": ("phone_recognizer", "PhoneRecognizer"),
    "CREDIT_CARD": ("credit_card_recognizer", "CreditCardRecognizer"),
    "IBAN_CODE": ("iban_recognizer", "IbanRecognizer"),
    "IP_ADDRESS": ("ip_recognizer", "IpRecognizer"),
}
ENTITIES = tuple(_CLASSES)
_POSSIBLE, _VALID = 0, 1  # leniency of the phonenumbers library
_loading = threading.Lock()

Finding = tuple[int, int, float]
Recogniser = Callable[[str], list[Finding]]


def recogniser(entity: str, phone_regions: tuple[str, ...]) -> Recogniser:
    """A function text → (start, end, score) of every finding of one entity; Presidio is loaded by the first call.

    Telephone numbers of a possible length that no numbering plan knows get half of Presidio's score.
    """
    if entity == "PHONE_NUMBER":
        return functools.partial(_phone_numbers, phone_regions)
    made = _instance(entity)

    def find(text: str) -> list[Finding]:
        return [(r.start, r.end, r.score) for r in made.analyze(text, [entity])]

    return find


def _phone_numbers(regions: tuple[str, ...], text: str) -> list[Finding]:
    known = {(r.start, r.end): r.score for r in _phones(regions, _VALID).analyze(text, ["PHONE_NUMBER"])}
    possible = {(r.start, r.end): r.score / 2 for r in _phones(regions, _POSSIBLE).analyze(text, ["PHONE_NUMBER"])}
    return [(start, end, score) for (start, end), score in {**possible, **known}.items()]


@functools.lru_cache(maxsize=16)
def _phones(regions: tuple[str, ...], leniency: int) -> Any:
    return _classes()["PHONE_NUMBER"](supported_regions=regions, leniency=leniency)


@functools.lru_cache(maxsize=8)
def _instance(entity: str) -> Any:
    return _classes()[entity]()


@functools.lru_cache(maxsize=1)
def _classes() -> dict[str, Any]:
    with _loading:
        before = {name: module for name, module in sys.modules.items() if _is_presidio(name)}
        for name in before:
            del sys.modules[name]
        try:
            _set_up_shells()
            found = {e: _class(module, name) for e, (module, name) in _CLASSES.items()}
        finally:
            for name in [n for n in sys.modules if _is_presidio(n)]:
                del sys.modules[name]
            sys.modules.update(before)
    found["EMAIL_ADDRESS"] = _any_domain(found["EMAIL_ADDRESS"])
    return found


def _is_presidio(name: str) -> bool:
    return name == _PACKAGE or name.startswith(f"{_PACKAGE}.")


def _class(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"{_GENERIC}.{module}"), name)


def _set_up_shells() -> None:
    """Put packages without their `__init__` into `sys.modules`, with the few names the recognisers import."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {_PACKAGE!r}", name=_PACKAGE)
    root = Path(spec.origin).parent
    for name in (_PACKAGE, f"{_PACKAGE}.predefined_recognizers", _GENERIC, f"{_PACKAGE}.nlp_engine"):
        shell = types.ModuleType(name)
        shell.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = shell
    sys.modules[f"{_PACKAGE}.nlp_engine"].NlpArtifacts = object  # type: ignore[attr-defined]
    for module, name in _BASICS.items():
        setattr(sys.modules[_PACKAGE], name, getattr(importlib.import_module(f"{_PACKAGE}.{module}"), name))


def _any_domain(recogniser: Any) -> Any:
    """The e-mail recogniser without its look-up of the domain.

    Presidio's own check asks tldextract, which fetches the list of public suffixes from the network and lets
    addresses of internal domains (`anna@desk.local`) pass.
    """

    class AnyDomainEmailRecognizer(recogniser):  # type: ignore[misc]
        def validate_result(self, pattern_text: str) -> bool | None:  # noqa: ARG002
            return None

    return AnyDomainEmailRecognizer
