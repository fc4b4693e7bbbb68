"""National identity, tax and health numbers: those with a checksum, or with their name in front.

A checksum of one digit lets one order number in ten pass, so most of these count only where the words before them say
what they are. The few whose form is rare and whose check sign is strong count anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tasks.privacy.gate import gate
from tasks.privacy.recognisers import findings
from tasks.privacy.spans import Finding

_REACH = 60
_AROUND = re.compile(r"[A-Za-z]{0,6}[ -]?$")
_AFTER = re.compile(r"[ -]?[A-Za-z][0-9]{0,3}\b")
# Form of the number → who checks it; the form is the gate, the check is Presidio's.
_ANYWHERE = (
    (re.compile(r"\b[0-9]{8}-?[A-Za-z]\b"), "ES_NIF"),
    (re.compile(r"\b[XYZxyz]-?[0-9]{7}-?[A-Za-z]\b"), "ES_NIE"),
    (re.compile(r"\b[0-9]{6}[-+A][0-9]{3}[0-9A-Za-z]\b"), "FI_PERSONAL_IDENTITY_CODE"),
    (re.compile(r"\b[0-9]{8}[A-Za-z][0-9]{3}\b"), "DE_SOCIAL_SECURITY"),
    (re.compile(r"\b[A-Za-z]{6}[0-9]{2}[A-Za-z][0-9]{2}[A-Za-z][0-9]{3}[A-Za-z]\b"), "IT_FISCAL_CODE"),
)
_CHECKED = 1.0
_NAMED = {
    "US_SSN": r"ssns?|social security|social sec",
    "UK_NHS": r"nhs|national health",
    "PL_PESEL": r"pesel",
    "IN_AADHAAR": r"aadhaar|aadhar|uidai",
    "AU_TFN": r"tfn|tax file",
    "AU_MEDICARE": r"medicare",
    "CA_SIN": r"sin|social insurance",
    "DE_TAX_ID": r"steuer-?id(?:nr|entifikationsnummer)?|idnr|steuerliche identifikation\w*|tax id",
    "DE_SOCIAL_SECURITY": r"(?:renten|sozial)versicherungsnummer|svnr|rvnr",
    "SE_PERSONNUMMER": r"personnummer|samordningsnummer",
    "SG_NRIC_FIN": r"nric|fin",
    "TR_NATIONAL_ID": r"tckn|kimlik no|tc kimlik|tc no",
    "ES_NIF": r"dni|nif",
    "ES_NIE": r"nie",
    "FI_PERSONAL_IDENTITY_CODE": r"hetu|henkil\w{1,2}tunnus",
    "IT_FISCAL_CODE": r"codice fiscale|cf",
}
_SAYS = re.compile("|".join(rf"(?P<{name}>\b(?:{words})\b)" for name, words in _NAMED.items()), re.IGNORECASE)
_WORDS = "(?i:" + "|".join(_NAMED.values()) + ")"
_SAYS_INSURANCE = re.compile(r"\b(?:national insurance|nino|ni number)\b.{0,30}", re.IGNORECASE)
_JOINED_SCORE = 0.5


def national_ids(text: str, start: int, end: int, digits: str, before: str) -> Iterator[Finding]:
    """Identity numbers that hold the run text[start:end]."""
    first = start - len(_letters_before(text, start))
    after = _AFTER.match(text, end)
    last = after.end() if after else end
    if first < start or last > end:
        window = text[first:last]
        for form, name in _ANYWHERE:
            if form.search(window):
                yield from _checked(name, window, first)
    left = (before + text[:start] if start < _REACH else text[start - _REACH : start])[-_REACH:]
    if not gate(_WORDS)(left.encode("utf-8", "replace")):
        return
    for named in _SAYS.finditer(left):
        yield from _named(str(named.lastgroup), text, (first, last), (start, end), digits)


def insurance_numbers(text: str) -> Iterator[Finding]:
    """British national insurance numbers; they have no checksum and no long run of digits, so the name leads there."""
    for named in _SAYS_INSURANCE.finditer(text):
        for start, end, score in findings("UK_NINO", named.group()):
            yield start + named.start(), end + named.start(), score


def _letters_before(text: str, start: int) -> str:
    found = _AROUND.search(text[max(0, start - 7) : start])
    return found.group() if found else ""


def _checked(name: str, window: str, offset: int) -> Iterator[Finding]:
    """Only what passed the check: Presidio gives it the full score."""
    for start, end, score in findings(name, window):
        if score == _CHECKED:
            yield start + offset, end + offset, score


def _named(name: str, text: str, window: tuple[int, int], run: tuple[int, int], digits: str) -> Iterator[Finding]:
    first, last = window
    found = findings(name, text[first:last])
    if found:
        yield from ((start + first, end + first, score) for start, end, score in found)
        return
    if any(found_end - start == len(digits) for start, found_end, _ in findings(name, digits)):
        yield run[0], run[1], _JOINED_SCORE
