"""Asks the numbering plans of the phonenumbers library about one run of digits.

Its matcher reads a whole text once for each country (half a millisecond a kilobyte and country). Here it only reads a
run that is already found, and only for countries whose general pattern the digits fit; what it then accepts is what
it accepts in the whole text.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from tasks.privacy.spans import Finding

VALID, POSSIBLE = (
    0.4,
    0.2,
)  # scores: that of Presidio's recogniser, and half of it where no plan knows a number of possible length
_LENIENCY = {VALID: 1, POSSIBLE: 0}
_INTERNATIONAL = ("00", "011")
_EXTENSION = re.compile(r"[ ,;]{0,2}(?:ext(?:ension)?|extn|x|durchwahl)[.:]? ?[0-9]{1,6}\b", re.IGNORECASE)


def level_of(run: str, digits: str, regions: tuple[str, ...]) -> float:
    """VALID where a plan of the regions knows the number, POSSIBLE where only its length fits, else 0."""
    if run.startswith("+"):
        return _international_level(run)
    if any(findings_in(run, VALID, (region,)) for region in _fitting(run, digits, regions)):
        return VALID
    return POSSIBLE if _is_possible(run, regions) else 0.0


def _international_level(run: str) -> float:
    """With a country in front nothing is left to guess, so the plan is asked without the matcher's precautions."""
    import phonenumbers as plans

    number = _parsed(run, "ZZ")
    if number is None or not plans.is_possible_number(number):
        return 0.0
    return VALID if plans.is_valid_number(number) else POSSIBLE


def findings_in(window: str, level: float, regions: tuple[str, ...]) -> list[Finding]:
    """What the library's matcher finds in a short stretch of text, with the given level as score.

    Presidio's recogniser calls the same matcher and then works out the country of each number, which nothing needs.
    """
    import phonenumbers as plans

    found: dict[tuple[int, int], None] = {}
    for region in regions:
        matcher = plans.PhoneNumberMatcher(window, None if region == "ZZ" else region, leniency=_LENIENCY[level])
        found.update({(match.start, match.end): None for match in matcher})
    return [(start, end, level) for start, end in found]


def international_forms(value: str, regions: tuple[str, ...]) -> tuple[str, ...]:
    """The number as +country digits for every region whose plan knows it, in the order of the regions."""
    import phonenumbers as plans

    digits = "".join(filter(str.isdigit, value))
    forms: dict[str, None] = {}
    for region in _fitting(value, digits, regions):
        number = _parsed(value, region)
        if number is not None and plans.is_valid_number(number):
            forms[plans.format_number(number, plans.PhoneNumberFormat.E164)] = None
    return tuple(forms)


def end_with_extension(text: str, end: int) -> int:
    found = _EXTENSION.match(text, end)
    return found.end() if found else end


def _fitting(run: str, digits: str, regions: tuple[str, ...]) -> tuple[str, ...]:
    """The regions that can know the number: one is enough for `+`, else those whose general pattern fits."""
    if run.startswith("+"):
        return regions[:1] or ("ZZ",)
    if digits.startswith(_INTERNATIONAL):
        return regions
    return tuple(region for region in regions if _fits(digits, region))


def _fits(digits: str, region: str) -> bool:
    general, prefixes = _plan(region)
    if general.fullmatch(digits):
        return True
    return any(digits.startswith(p) and general.fullmatch(digits, len(p)) for p in prefixes)


@functools.lru_cache(maxsize=512)
def _plan(region: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """The general pattern of a region's numbers, and what may stand before it: trunk prefix, country code."""
    import phonenumbers as plans

    data = plans.PhoneMetadata.metadata_for_region(region, None)
    if data is None or data.general_desc is None:
        return re.compile(r"(?!)"), ()
    country = str(data.country_code)
    trunk = data.national_prefix or ""
    prefixes = {p for p in (trunk, country, country + trunk) if p}
    return re.compile(data.general_desc.national_number_pattern or r"(?!)"), tuple(sorted(prefixes))


def _is_possible(run: str, regions: tuple[str, ...]) -> bool:
    import phonenumbers as plans

    numbers = (_parsed(run, region) for region in (regions[:1] if run.startswith("+") else regions))
    return any(number is not None and plans.is_possible_number(number) for number in numbers)


def _parsed(run: str, region: str) -> Any:
    import phonenumbers as plans

    try:
        return plans.parse(run, None if region == "ZZ" else region)
    except plans.NumberParseException:
        return None
