"""What stands in the place of personal data: placeholders, masks and pseudonyms.

No form here is found again by a recogniser: placeholders and pseudonyms hold no digits, masks too few.
"""

from __future__ import annotations

import hmac
import re

from tasks.placeholders import PLACEHOLDER
from tasks.privacy.recognisers import operator

BLANK = "\x01"  # no word character, no white space, no separator of digits
_KEPT_IN_MASK = {"CREDIT_CARD": 4, "PHONE_NUMBER": 4}
_MASK = 3
_HASH = re.compile(r"\b(?=[0-9]*[a-f])[0-9a-f]{32}\b")  # as a user's tag is kept, and in the ids of requests
_SIGN_LETTERS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")


def replacement(entity: str, value: str, normal: str, action: str, key: bytes) -> str:
    """What replaces `value`.

    Args:
        normal: the value in its one written form, so that each writing of it gets the same pseudonym.
        action: redact, mask, pseudonymise or drop (whose text is redacted too).
    """
    if action == "mask":
        return _masked(entity, value)
    new = pseudonym(entity, normal, key) if action == "pseudonymise" else None
    return str(operator("replace").operate(value, {"entity_type": entity, "new_value": new}))


def pseudonym(entity: str, normal: str, key: bytes) -> str:
    """The same sign for the same value under the same key; letters only, which no recogniser takes for a number."""
    digest = hmac.digest(key, f"pseudonym\x00{entity}\x00{normal}".encode(), "sha256").hex()
    return f"<{entity}_{digest[:12].translate(_SIGN_LETTERS)}>"


def _masked(entity: str, value: str) -> str:
    if entity == "EMAIL_ADDRESS":
        return f"{value[:1]}***@***"
    shown = "".join(filter(str.isalnum, value))[-_KEPT_IN_MASK[entity] :] if entity in _KEPT_IN_MASK else ""
    stars = operator("mask").operate("x" * _MASK, {"masking_char": "*", "chars_to_mask": _MASK, "from_end": False})
    return f"{stars}{shown}"


def without_placeholders(text: str) -> str:
    """The text with every placeholder blanked, at the same length."""
    return PLACEHOLDER.sub(lambda found: BLANK * len(found.group()), text) if "<" in text else text


def without_hashes(text: str) -> str:
    """The text with every hash of 32 hexadecimal digits blanked, at the same length: its digits are no number."""
    return _HASH.sub(lambda found: BLANK * len(found.group()), text)
