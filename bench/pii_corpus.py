"""Generated texts with labelled personal data, for measuring how much of it is found.

It knows nothing of the product's code: the formats come from the public numbering plans, card issuers' ranges, the
IBAN registry and the key formats that vendors publish. Everything is invented; checksums are computed here.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import NamedTuple

from bench.pii_corpus_values import (
    FIRST_NAMES,
    POSITIVE,
    Made,
    Random,
    card_number,
    digits,
    grouped_card,
    iban_number,
    split_words,
)

_WORDS = split_words(
    """
    the parcel that we sent last week has not arrived and our customer would like to know whether another one can be
    shipped before friday since the warehouse said everything left on time but tracking shows nothing please check with
    carrier about delays thank you for your patience this happens rarely when weather is bad or roads are closed so we
    ask you kindly to wait until tomorrow then contact support again with details of your purchase and colour size
    password policy changed recently key points are listed in our guide which explains how accounts stay safe
    """
)
_HARMLESS = (
    "password: required",
    "Your password is wrong",
    "the secret is practice",
    "API key: see the portal",
    "https://shop.io/list?page=12&sort=name",
    "password = <your password>",
    "token: ${TOKEN}",
)


_GOLDEN = (5**0.5 - 1) / 2


class Labelled(NamedTuple):
    """text[start:end] is an `entity`."""

    start: int
    end: int
    entity: str


class Example(NamedTuple):
    """A text with everything personal in it; `kind` says what it was made of."""

    text: str
    spans: tuple[Labelled, ...]
    kind: str


def examples(seed: int, count: int) -> list[Example]:
    """Short texts, two thirds with one labelled value, the rest with something that only looks like one."""
    rng = Random(seed)
    made = []
    for index in range(count):
        kinds = POSITIVE if index % 3 < 2 else _NEGATIVE
        kind = rng.choice(sorted(kinds))
        made.append(_in_context(rng, kind, kinds[kind](rng), labelled=index % 3 < 2))
    return made


def rows(seed: int, megabytes: float, share: float = 0.05) -> list[Example]:
    """Rows of text as a company has them: `share` of them with personal data, twice as many with hard negatives."""
    rng = Random(seed)
    made: list[Example] = []
    size = 0
    while size < megabytes * 1_000_000:
        drawn = len(made) * _GOLDEN % 1  # spreads evenly, so that the share holds in any sample
        text = prose(rng, rng.randint(40, 500))
        example = Example(text, (), "prose")
        if drawn < 3 * share:
            kinds = POSITIVE if drawn < share else _NEGATIVE
            kind = rng.choice(sorted(kinds))
            inner = _in_context(rng, kind, kinds[kind](rng), labelled=drawn < share)
            head, tail = prose(rng, rng.randint(20, 250)) + " ", " " + prose(rng, rng.randint(20, 250))
            spans = tuple(Labelled(s.start + len(head), s.end + len(head), s.entity) for s in inner.spans)
            example = Example(head + inner.text + tail, spans, kind)
        made.append(example)
        size += len(example.text)
    return made


def prose(rng: Random, words: int) -> str:
    """Sentences with a number here and there, as ordinary text has them."""
    parts = []
    for _ in range(words):
        word = rng.choice(_WORDS)
        if rng.random() < 0.02:
            word = rng.choice((str(rng.randint(1, 999)), f"{rng.randint(1, 99)}%", f"item {rng.randint(2, 40)}"))
        parts.append(word + rng.choices(("", ".", ",", ":"), (90, 6, 3, 1))[0])
    return " ".join(parts).capitalize()


def _in_context(rng: Random, kind: str, made: Made, *, labelled: bool) -> Example:
    """A sentence around a value; `made` is what stands before it, the value, what stands behind it, and the entity."""
    before, value, after, entity = made
    opening = rng.choice(("", "", prose(rng, rng.randint(2, 12)) + " ", "Hi team, ", "FYI – ", "Notes\n- "))
    closing = rng.choice(("", ".", " " + prose(rng, rng.randint(1, 9)), "\nThanks!", ", right?"))
    start = len(opening) + len(before)
    text = f"{opening}{before}{value}{after}{closing}"
    return Example(text, (Labelled(start, start + len(value), entity),) if labelled else (), kind)


# --- what is to be found ----------------------------------------------------------------------------------------


def _plain(*forms: Callable[[Random], str]) -> Callable[[Random], Made]:
    return lambda rng: ("", rng.choice(forms)(rng), "", "")


def _failing_card(rng: Random) -> str:
    number = card_number(rng)
    wrong = number[:-1] + str((int(number[-1]) + rng.randint(1, 9)) % 10)
    return rng.choice(("card ", "item ", "")) + grouped_card(rng, wrong)


def _failing_iban(rng: Random) -> str:
    number = iban_number(rng)
    return f"account {number[:2]}{(int(number[2:4]) + rng.randint(1, 40)) % 97 + 1:02}{number[4:]}" if number else ""


def _date(rng: Random) -> str:
    day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(1995, 2030)
    hour, minute = rng.randint(0, 23), rng.randint(0, 59)
    return rng.choice((
        f"{year}-{month:02}-{day:02}", f"{day:02}.{month:02}.{year}", f"{month}/{day}/{year} {hour}:{minute:02}",
        f"{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:00Z", f"{year}{month:02}{day:02}",
        f"from {day:02}.{month:02}.{year} to {day + 1:02}.{month:02}.{year}",
    ))  # fmt: skip


def _isbn(rng: Random) -> str:
    body = "978" + digits(rng, 9)
    check = -sum(int(d) * (3 if i % 2 else 1) for i, d in enumerate(body)) % 10
    return f"ISBN {body[:3]}-{body[3]}-{body[4:8]}-{body[8:12]}-{check}"


_NEGATIVE: dict[str, Callable[[Random], Made]] = {
    "card that fails": _plain(_failing_card),
    "code": _plain(
        lambda r: f"std::vector<int>::iterator at line {r.randint(1, 900)}",
        lambda r: f"npm install react@{r.randint(1, 18)}.{r.randint(0, 9)}.0",
        lambda r: f"@{r.choice(FIRST_NAMES)}_{r.randint(1, 99)} said so",
        lambda r: f"0x{r.getrandbits(32):08x}",
        lambda r: f"#{r.getrandbits(24):06x}",
    ),
    "coordinates": _plain(lambda r: f"{r.uniform(-90, 90):.6f}, {r.uniform(-180, 180):.6f}"),
    "date": _plain(_date),
    "hash": _plain(
        lambda r: f"sha256 {r.randbytes(32).hex()}",
        lambda r: f"commit {r.randbytes(20).hex()}",
        lambda r: f"md5: {r.randbytes(16).hex()}",
    ),
    "iban that fails": _plain(_failing_iban),
    "isbn": _plain(_isbn),
    "mac": _plain(lambda r: "MAC " + ":".join(f"{b:02X}" for b in r.randbytes(6))),
    "order": _plain(
        lambda r: f"order {digits(r, 10)}",
        lambda r: f"Invoice no. {digits(r, 8)}",
        lambda r: f"ticket #{digits(r, 7)}",
        lambda r: f"BR-{digits(r, 8)}",
        lambda r: f"PO {digits(r, 4)}-{digits(r, 6)}",
        lambda r: f"tracking 1Z{digits(r, 3)}AA1{digits(r, 10)}",
        lambda r: f"customer id {digits(r, 9)}",
    ),
    "price": _plain(
        lambda r: f"{r.randint(1, 99)},{r.randint(100, 999)}.{r.randint(0, 99):02} EUR",
        lambda r: f"€ {r.randint(1, 99)}.{r.randint(100, 999)}.{r.randint(100, 999)},00",
        lambda r: f"{r.randint(10, 99)} {r.randint(100, 999)} {r.randint(100, 999)} CHF",
    ),
    "timestamp": _plain(
        lambda r: str(r.randint(1_500_000_000, 1_900_000_000)),
        lambda r: f"{r.randint(0, 23):02}:{r.randint(0, 59):02}:11",
    ),
    "uuid": _plain(lambda r: str(uuid.UUID(int=r.getrandbits(128), version=4))),
    "version": _plain(
        lambda r: f"version {r.randint(1, 20)}.{r.randint(0, 99)}.{r.randint(0, 99)}",
        lambda r: f"v{r.randint(1, 9)}.{r.randint(0, 20)}.{r.randint(0, 9)}.{r.randint(0, 250)}",
        lambda r: f"build 10.0.{r.randint(10000, 22000)}.{r.randint(1000, 4000)}",
    ),
    "word": _plain(
        lambda r: r.choice(_HARMLESS),
    ),
}
