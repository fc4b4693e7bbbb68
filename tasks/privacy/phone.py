"""Which digit runs are telephone numbers, beyond what the numbering plans say.

Presidio asks the numbering plan of each region whether a run of digits *could* be a number there. Eight regions
together accept most runs of seven to eleven digits, order numbers and timestamps included. These rules look at how
the run is written and what stands before it:

* never: inside a date or time, beside a currency sign, glued to an identifier (`BR-20391555`), or right after a word
  such as `order` or `invoice` (unless it starts with `+`);
* after a word such as `call` or `mobile`, or with `+`: every number of a possible length, known to a plan or not,
  because people mistype and write extensions;
* otherwise only numbers a plan knows, and only with `00`, a leading zero or parenthesis, grouped as in North America
  or India, or as a bare run of ten digits in the form of a North American or Indian number;
* everything else is left alone.
"""

from __future__ import annotations

import re

from tasks.placeholders import PLACEHOLDER
from tasks.privacy.gate import gate
from tasks.privacy.replacement import BLANK

_BEFORE_CHARACTERS = 48
_PLACEHOLDER_CHARACTERS = 120  # room for a few of them in what is read before a number
_SAYS_PHONE = (
    r"(?i:(?:\b|_)(?:tele)?phones?\b|\btel\b|\btele?fon|\bt(?:e|é)l(?:e|é)phone|\bcall(?:ed|ing|s)?\b|\bring\b|\brang\b"
    r"|\bmobiles?\b|\bcell\b|\bhandy\b|\bfax\b|\bwhats?app\b|\bsms\b|\btext(?:ed)? me\b|\bnumber is\b|\bmy number\b"
    r"|\bcontact\b|\breach(?:ed|able)?\b|\brufen?\b|\bappel|\bbel(?:len)?\b|\bgsm\b|\bhotline\b|\bportable\b"
    r"|(?:_|\b)msisdn\b)"
)
_NAMED_ID = (
    r"(?i:\b(?:order|invoice|ticket|ref(?:erence)?|tracking|serial|booking|parcel|contract|article|item|sku|frame"
    r"|isbn|ean|gtin|imei|conversation|commande|bestell(?:ung|nummer)|rechnung|facture)[\"'\s_-]*"
    r"(?:no|nr|number|id|code)?[\s.:#\"'=-]*$)"
)
_SAYS_ID = r"(?i:\b(?:id|nr|no|number|code|case|customer|account)[\s.:#\"'=]*$)"
_GLUED = re.compile(r"(?:[A-Za-z]{1,6}\d*[-_/#]|[A-Za-z_#])\Z")
_GLUE_AFTER_WORD = ("_", "#", "phone-", "mobile-", "tel-")
_CURRENCY_BEFORE = re.compile(r"(?:[€$£¥]|\b(?:EUR|USD|GBP|CHF))\s?$")
_CURRENCY_AFTER = re.compile(r"^(?:[.,]\d{2})?\s?(?:[€$£¥]|(?:EUR|USD|GBP|CHF|euros?|dollars?)\b)")
_TIME = re.compile(
    r"\d{4}-\d{1,2}-\d{1,2}(?:[T ]\d{1,2}[:.]?\d{2}(?:[:.]?\d{2}(?:[.,]\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?"
    r"|\b\d{4}/\d{1,2}/\d{1,2}\b|\b\d{1,2}[./-]\d{1,2}[./-](?:19|20)?\d{2}\b(?:[ T]\d{1,2}[:.]\d{2})?"
    r"|\b\d{1,2}:\d{2}(?::\d{2})?\b"
)
_WRITTEN_AS_PHONE = re.compile(r"\+|00\d|\(|0\d|(?:1[ .-])?[2-9]\d{2}[ .-]\d{3}[ .-]\d{4}$|[6-9]\d{4}[ -]\d{5}$")
_BARE_NATIONAL = re.compile(r"[2-9]\d{2}[2-9]\d{6}|[6-9]\d{9}")


def is_plausible(text: str, start: int, end: int, *, valid: bool, before: str = "") -> bool:
    """Whether text[start:end] is written like a telephone number.

    Args:
        valid: whether a numbering plan knows the number; otherwise it only has a possible length.
        before: what stands before `text` itself, e.g. the key of a JSON value.
    """
    run = text[start:end]
    left = words_before(text, start, before)
    if _inside_time(text, start, end):
        return False
    if run.startswith("+"):
        return True
    if _CURRENCY_BEFORE.search(left) or _CURRENCY_AFTER.match(text[end:]) or _says(_NAMED_ID, left):
        return False
    says_phone = says_telephone(left)
    if _GLUED.search(left) and not (says_phone and left.endswith(_GLUE_AFTER_WORD)):
        return False
    if says_phone:
        return True
    return valid and not _says(_SAYS_ID, left) and bool(_WRITTEN_AS_PHONE.match(run) or _BARE_NATIONAL.fullmatch(run))


def words_before(text: str, start: int, before: str) -> str:
    """The characters before text[start], for context.

    Placeholders hold words such as PHONE, which would change what a second look finds.
    """
    left = text[max(0, start - _BEFORE_CHARACTERS - _PLACEHOLDER_CHARACTERS) : start]
    if len(left) < start:
        before = ""
    return PLACEHOLDER.sub(" ", before + left).replace(BLANK, "")[-_BEFORE_CHARACTERS:]


def says_telephone(left: str) -> bool:
    """Whether the words before a number announce a telephone number."""
    return _says(_SAYS_PHONE, left)


def names_another_thing(left: str) -> bool:
    """Whether the words before a number announce an order, an invoice, an article and the like."""
    return _says(_NAMED_ID, left) or _GLUED.search(left) is not None


def _says(pattern: str, left: str) -> bool:
    return bool(gate(pattern)(left.encode("utf-8", "replace")))


def looks_written_as_phone(run: str) -> bool:
    """Whether a run of digits starts or is grouped as telephone numbers are."""
    return _WRITTEN_AS_PHONE.match(run) is not None or _BARE_NATIONAL.fullmatch(run) is not None


def without_times(run: str) -> str:
    """The run with dates and times taken out, at the same length."""
    return _TIME.sub(lambda found: BLANK * len(found.group()), run)


def _inside_time(text: str, start: int, end: int) -> bool:
    window = max(0, start - 32)
    return any(
        found.start() + window <= start and found.end() + window >= end - 3 and found.end() + window > start
        for found in _TIME.finditer(text[window : end + 32])
    )
