"""A labelled field set for personal-data detection, written without sight of any detector.

``field_texts(seed, count)`` gives mails, chats, notes, log lines, tables, config and code with made-up values
(``pii_field_values``, ``pii_field_secrets``) and hard negatives (``pii_field_negatives``). It is the same for a seed.

A label covers the value only: the password of a connection string or assignment, the address without port, prefix
length, zone or ``mailto:``, the whole PEM block, the whole Slack webhook URL (that URL is the credential).
"""

import re
from collections.abc import Callable
from functools import cache
from random import Random
from typing import NamedTuple

from bench import pii_field_phones as phones
from bench import pii_field_secrets as secrets
from bench import pii_field_values as values
from bench.pii_field_negatives import negative, phrase
from bench.pii_field_templates import GENERIC, GENERIC_MIXED, NEGATIVE, SPECIFIC
from bench.pii_field_values import Piece


class FieldValue(NamedTuple):
    """``text[start:end]`` is an entity."""

    start: int
    end: int
    entity: str


class FieldText(NamedTuple):
    """One text, its labelled values in order, and the hard negatives that stand in it."""

    text: str
    values: tuple[FieldValue, ...]
    negatives: tuple[str, ...]


EMAIL, CARD, IBAN, PHONE, IP, SECRET = ENTITIES = (
    "EMAIL_ADDRESS", "CREDIT_CARD", "IBAN_CODE", "PHONE_NUMBER", "IP_ADDRESS", "SECRET",
)  # fmt: skip

_CONTEXT: dict[str, Callable[[Random], Piece]] = {
    EMAIL: values.email_piece,
    CARD: lambda r: Piece(r.choice(("", "", "card ", "Visa:", "CC#")), values.card(r)),
    IBAN: lambda r: Piece(r.choice(("", "", "IBAN ", "IBAN:", "Konto ", "acct. ")), values.iban(r)),
    PHONE: phones.phone_piece,
    IP: values.ip_piece,
    SECRET: secrets.secret_piece,
}
_BARE: dict[str, tuple[str, Callable[[Random], str]]] = {
    "email": (EMAIL, values.email), "card": (CARD, values.card), "iban": (IBAN, values.iban),
    "phone": (PHONE, phones.phone), "ip": (IP, values.ip), "ip4": (IP, values.ipv4), "ip6": (IP, values.ipv6),
    "token": (SECRET, secrets.token), "awsid": (SECRET, secrets.aws_id), "awskey": (SECRET, secrets.aws_key),
    "opaque": (SECRET, secrets.opaque), "password": (SECRET, lambda r: secrets.password(r, "!#%+*?_-")),
    "pem": (SECRET, secrets.pem), "pem_json": (SECRET, lambda r: secrets.pem(r, "\\n")),
    "pem_indent": (SECRET, lambda r: secrets.pem(r, "\n  ")),
}  # fmt: skip
_SHORT = {EMAIL: "email", CARD: "card", IBAN: "iban", PHONE: "phone", IP: "ip", SECRET: "token"}
_FILLERS: dict[str, Callable[[Random], str]] = {
    "first": lambda r: r.choice(values.FIRST).title(),
    "name": lambda r: f"{r.choice(values.FIRST)} {values.syllables(r, 2)}".title(),
    "firm": lambda r: values.syllables(r, 2).title() + r.choice((" GmbH", " Ltd", " SARL", " S.L.", " Inc.", " AG")),
    "word": lambda r: r.choice(("billing", "contact", "backup", "crm", "export", "main", "notes", "primary", "import")),
    "num": lambda r: str(r.randint(100, 9999)),
}
_SLOT = re.compile(r"§([a-z0-9_.]+)§")
_NEGATIVE = "NEGATIVE"


def _fill_slot(rng: Random, slot: str, wanted: str) -> tuple[Piece, str]:
    if slot.startswith("f."):
        return Piece("", _FILLERS[slot[2:]](rng)), ""
    if slot.startswith("n."):
        return (phrase(rng) if slot == "n.phrase" else Piece("", negative(rng, slot[2:]))), _NEGATIVE
    if slot == "v":
        return _CONTEXT[wanted](rng), wanted
    if slot in ("secret", "dsn"):
        return (secrets.dsn(rng) if slot == "dsn" else secrets.secret_piece(rng)), SECRET
    entity, maker = _BARE[_SHORT[wanted] if slot == "b" else slot]
    return Piece("", maker(rng)), entity


def _render(rng: Random, template: str, wanted: str) -> FieldText:
    text, found, negatives = "", list[FieldValue](), list[str]()
    for index, part in enumerate(_SLOT.split(template)):
        if index % 2 == 0:
            text += part
            continue
        piece, kind = _fill_slot(rng, part, wanted)
        start = len(text) + len(piece.before)
        text += piece.before + piece.value + piece.after
        if kind == _NEGATIVE:
            negatives.append(piece.value)
        elif kind:
            found.append(FieldValue(start, start + len(piece.value), kind))
    return FieldText(text, tuple(found), tuple(negatives))


def _entities(template: str) -> set[str]:
    slots = _SLOT.findall(template)
    return {
        SECRET if slot in ("secret", "dsn") else _BARE[slot][0] for slot in slots if slot in (*_BARE, "secret", "dsn")
    }


@cache
def _specific(entity: str, mixed: bool) -> tuple[str, ...]:
    return tuple(t for t in SPECIFIC if entity in _entities(t) and ("§n." in t) == mixed)


def _template(rng: Random, entity: str, mixed: bool) -> str:
    special = _specific(entity, mixed)
    pool = special if rng.random() < 0.55 else GENERIC_MIXED if mixed else GENERIC
    return rng.choice(pool)


def field_texts(seed: int, count: int) -> list[FieldText]:
    """``count`` texts: a third with hard negatives only, a sixth mixed, half with values only; entities in turn."""
    rng, texts, turn = Random(seed), list[FieldText](), 0
    while len(texts) < count:
        for kind in rng.sample(("negative", "negative", "mixed", "clean", "clean", "clean"), 6):
            template = rng.choice(NEGATIVE)
            if kind != "negative":
                turn += 1
                template = _template(rng, ENTITIES[turn % len(ENTITIES)], kind == "mixed")
            if rng.random() < 0.1 and "pem" not in template:
                template = template.replace("\n", "\r\n")
            texts.append(_render(rng, template, ENTITIES[turn % len(ENTITIES)]))
    return texts[:count]
