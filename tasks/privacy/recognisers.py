"""Presidio's recognisers and operators without its NLP engine.

`import presidio_analyzer` loads spaCy and through it torch (6 s, and torch in a process that must stay small), and
`import presidio_anonymizer` loads both, though the pattern recognisers and the operators need neither. So their
modules are loaded below bare package shells (0.1 s), which leave `sys.modules` again: whoever imports the packages
later gets the real ones.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import threading
import types
from pathlib import Path
from typing import Any

from tasks.privacy.spans import Finding

_ANALYZER, _ANONYMIZER = "presidio_analyzer", "presidio_anonymizer"
_PREDEFINED = f"{_ANALYZER}.predefined_recognizers"
_NATIONAL = "country_specific"
_BASICS = {
    "analysis_explanation": "AnalysisExplanation",
    "recognizer_result": "RecognizerResult",
    "entity_recognizer": "EntityRecognizer",
    "local_recognizer": "LocalRecognizer",
    "pattern": "Pattern",
    "pattern_recognizer": "PatternRecognizer",
}
_RECOGNISERS = {
    "EMAIL_ADDRESS": ("generic.email_recognizer", "EmailRecognizer"),
    "CREDIT_CARD": ("generic.credit_card_recognizer", "CreditCardRecognizer"),
    "IBAN_CODE": ("generic.iban_recognizer", "IbanRecognizer"),
    "IP_ADDRESS": ("generic.ip_recognizer", "IpRecognizer"),
    "AU_MEDICARE": (f"{_NATIONAL}.australia.au_medicare_recognizer", "AuMedicareRecognizer"),
    "AU_TFN": (f"{_NATIONAL}.australia.au_tfn_recognizer", "AuTfnRecognizer"),
    "CA_SIN": (f"{_NATIONAL}.canada.ca_sin_recognizer", "CaSinRecognizer"),
    "DE_SOCIAL_SECURITY": (f"{_NATIONAL}.germany.de_social_security_recognizer", "DeSocialSecurityRecognizer"),
    "DE_TAX_ID": (f"{_NATIONAL}.germany.de_tax_id_recognizer", "DeTaxIdRecognizer"),
    "ES_NIE": (f"{_NATIONAL}.spain.es_nie_recognizer", "EsNieRecognizer"),
    "ES_NIF": (f"{_NATIONAL}.spain.es_nif_recognizer", "EsNifRecognizer"),
    "FI_PERSONAL_IDENTITY_CODE": (
        f"{_NATIONAL}.finland.fi_personal_identity_code_recognizer",
        "FiPersonalIdentityCodeRecognizer",
    ),
    "IN_AADHAAR": (f"{_NATIONAL}.india.in_aadhaar_recognizer", "InAadhaarRecognizer"),
    "IT_FISCAL_CODE": (f"{_NATIONAL}.italy.it_fiscal_code_recognizer", "ItFiscalCodeRecognizer"),
    "PL_PESEL": (f"{_NATIONAL}.poland.pl_pesel_recognizer", "PlPeselRecognizer"),
    "SE_PERSONNUMMER": (f"{_NATIONAL}.sweden.se_personnummer_recognizer", "SePersonnummerRecognizer"),
    "SG_NRIC_FIN": (f"{_NATIONAL}.singapore.sg_fin_recognizer", "SgFinRecognizer"),
    "TR_NATIONAL_ID": (f"{_NATIONAL}.turkey.tr_national_id_recognizer", "TrNationalIdRecognizer"),
    "UK_NHS": (f"{_NATIONAL}.uk.uk_nhs_recognizer", "NhsRecognizer"),
    "UK_NINO": (f"{_NATIONAL}.uk.uk_nino_recognizer", "UkNinoRecognizer"),
    "US_SSN": (f"{_NATIONAL}.us.us_ssn_recognizer", "UsSsnRecognizer"),
}
_loading = threading.Lock()


def findings(name: str, text: str) -> list[Finding]:
    """What Presidio's recogniser of that name finds in the text; Presidio is loaded by the first call."""
    made = recogniser(name)
    return [(r.start, r.end, r.score) for r in made.analyze(text, made.supported_entities)]


@functools.lru_cache(maxsize=64)
def recogniser(name: str) -> Any:
    """One of Presidio's recognisers."""
    made = _classes()[name]
    if name == "CREDIT_CARD":
        return made(patterns=[*made.PATTERNS, *_newer_cards()])
    return made()


def operator(name: str) -> Any:
    """One of Presidio's operators on what was found: `mask` or `replace`."""
    return _operators()[name]


def _newer_cards() -> list[Any]:
    """Number ranges that Presidio's pattern leaves out: Mastercard's second series, Maestro, 19 digits."""
    pattern = _classes()["Pattern"]
    return [
        pattern("Mastercard 2-series", r"\b2[2-7]\d{2}[- ]?\d{4}[- ]?\d{4}[- ]?\d{4}\b", 0.3),
        pattern("Maestro", r"\b5[06-8]\d{2}[- ]?\d{4}[- ]?\d{4}[- ]?\d{4}\b", 0.3),
        pattern("19 digits", r"\b[46]\d{3}(?:[- ]?\d{4}){3}[- ]?\d{3}\b", 0.3),
    ]


@functools.lru_cache(maxsize=1)
def _classes() -> dict[str, Any]:
    with _loading:
        before = _put_aside(_ANALYZER)
        try:
            packages = {module.rsplit(".", 1)[0] for module, _ in _RECOGNISERS.values()}
            _set_up_shells(_ANALYZER, {"predefined_recognizers", f"predefined_recognizers.{_NATIONAL}", "nlp_engine"})
            _set_up_shells(_ANALYZER, {f"predefined_recognizers.{package}" for package in packages})
            sys.modules[f"{_ANALYZER}.nlp_engine"].NlpArtifacts = object  # type: ignore[attr-defined]
            basics = {name: _class(f"{_ANALYZER}.{module}", name) for module, name in _BASICS.items()}
            found = {key: _class(f"{_PREDEFINED}.{module}", name) for key, (module, name) in _RECOGNISERS.items()}
        finally:
            _put_back(_ANALYZER, before)
    found["EMAIL_ADDRESS"] = _any_domain(found["EMAIL_ADDRESS"])
    return {**basics, **found}


@functools.lru_cache(maxsize=1)
def _operators() -> dict[str, Any]:
    with _loading:
        before = _put_aside(_ANONYMIZER)
        try:
            _set_up_shells(_ANONYMIZER, {"operators", "entities", "services"})
            error = _class(f"{_ANONYMIZER}.entities.invalid_exception", "InvalidParamError")
            sys.modules[f"{_ANONYMIZER}.entities"].InvalidParamError = error  # type: ignore[attr-defined]
            shell = sys.modules[f"{_ANONYMIZER}.operators"]
            for name in ("Operator", "OperatorType"):
                setattr(shell, name, _class(f"{_ANONYMIZER}.operators.operator", name))
            return {key: _class(f"{_ANONYMIZER}.operators.{key}", key.capitalize())() for key in ("mask", "replace")}
        finally:
            _put_back(_ANONYMIZER, before)


def _modules_of(package: str) -> dict[str, types.ModuleType]:
    return {n: m for n, m in sys.modules.items() if n == package or n.startswith(f"{package}.")}


def _put_aside(package: str) -> dict[str, types.ModuleType]:
    loaded = _modules_of(package)
    for name in loaded:
        del sys.modules[name]
    return loaded


def _put_back(package: str, before: dict[str, types.ModuleType]) -> None:
    _put_aside(package)
    sys.modules.update(before)


def _class(module: str, name: str) -> Any:
    made = getattr(importlib.import_module(module), name)
    root = sys.modules[module.split(".", 1)[0]]
    if name in _BASICS.values():
        setattr(root, name, made)
    return made


def _set_up_shells(package: str, inner: set[str]) -> None:
    """Put packages without their `__init__` into `sys.modules`."""
    spec = importlib.util.find_spec(package) if package not in sys.modules else sys.modules[package].__spec__
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    root = Path(spec.origin).parent
    for name in ("", *sorted(inner)):
        full = f"{package}.{name}" if name else package
        if full in sys.modules:
            continue
        shell = types.ModuleType(full)
        shell.__path__ = [str(root.joinpath(*name.split(".")))]
        shell.__spec__ = spec if not name else None
        sys.modules[full] = shell


def _any_domain(recogniser: Any) -> Any:
    """The e-mail recogniser without its look-up of the domain.

    Presidio's own check asks tldextract, which fetches the list of public suffixes from the network and lets
    addresses of internal domains (`anna@desk.local`) pass.
    """

    class AnyDomainEmailRecognizer(recogniser):  # type: ignore[misc]
        def validate_result(self, pattern_text: str) -> bool | None:  # noqa: ARG002
            return None

    return AnyDomainEmailRecognizer
