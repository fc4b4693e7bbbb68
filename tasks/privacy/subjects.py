"""Keyed hashes of personal identifiers: how a person's rows are found again without keeping who they are.

The hash is taken of the one written form of a value, so that `+32 471 23 45 67` and `0471/23.45.67` are one subject.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Callable

from tasks.privacy.addresses import mailbox_start
from tasks.privacy.numbering_plans import international_forms

IDENTIFIERS = frozenset(
    ("EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "IP_ADDRESS", "NATIONAL_ID", "PERSON")
)
_HEX = 32
_NAME = re.compile(r"[^\W\d_][\w'.-]*(?: [^\W\d_][\w'.-]*)+")


def subject_key(entity: str, value: str, key: bytes) -> str:
    """The keyed hash of one identifier.

    Args:
        value: in any writing; a telephone number with its country (`+32…`), or as `normal_forms` gives it.
    """
    return _hashed(entity, normal_forms(entity, value, ())[0], key)


def subject_keys(entity: str, value: str, regions: tuple[str, ...], key: bytes) -> tuple[str, ...]:
    """Keys of what a value that was found can be: a national telephone number can be one of several countries."""
    if entity not in IDENTIFIERS or (entity == "PERSON" and not _NAME.fullmatch(_one_spaced(value))):
        return ()  # a first name alone is shared by too many
    return tuple(_hashed(entity, form, key) for form in normal_forms(entity, value, regions))


def subjects_of(query: str, regions: tuple[str, ...], key: bytes) -> tuple[str, ...]:
    """Keys of everything that an identifier typed by an operator can be, sorted."""
    query = query.strip()
    keys: set[str] = set()
    for entity in _possible_entities(query):
        keys.update(subject_keys(entity, query, regions, key))
    return tuple(sorted(keys))


def normal_forms(entity: str, value: str, regions: tuple[str, ...]) -> tuple[str, ...]:
    """The value without its way of writing; several where it can be read in several ways, the likeliest first."""
    if entity == "PHONE_NUMBER":
        value = re.split(r"(?i)[ ,;]*(?:ext|extn|x|durchwahl)", value)[0]
        return international_forms(value, regions) or (("+" if "+" in value else "") + _only(str.isdigit, value),)
    if entity in ("CREDIT_CARD", "IBAN_CODE", "NATIONAL_ID"):
        return (_only(str.isalnum, value).upper(),)
    if entity == "IP_ADDRESS":
        return (_ip(value),)
    if entity == "EMAIL_ADDRESS":
        whole = _one_spaced(value).casefold()
        return tuple(dict.fromkeys((whole[mailbox_start(whole.rpartition("@")[0]) :], whole)))
    if entity in ("PERSON", "ADDRESS"):
        return (_one_spaced(value).casefold(),)
    return (value.strip(),)


def _possible_entities(query: str) -> tuple[str, ...]:
    if "@" in query:
        return ("EMAIL_ADDRESS",)
    if _NAME.fullmatch(_one_spaced(query)):
        return ("PERSON",)
    if ":" in query or query.count(".") == 3:
        return ("IP_ADDRESS", "PHONE_NUMBER")
    return ("PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "NATIONAL_ID")


def _hashed(entity: str, normal: str, key: bytes) -> str:
    return hmac.digest(key, f"subject\x00{entity}\x00{normal}".encode(), "sha256").hex()[:_HEX]


def _only(wanted: Callable[[str], bool], value: str) -> str:
    return "".join(filter(wanted, value))


def _one_spaced(value: str) -> str:
    return " ".join(value.split())


def _ip(value: str) -> str:
    try:
        return str(ipaddress.ip_interface(value.strip()).ip)
    except ValueError:
        return value.strip().casefold()
