"""Generated texts with labelled personal data, for measuring how much of it is found.

It knows nothing of the product's code: the formats come from the public numbering plans, card issuers' ranges, the
IBAN registry and the key formats that vendors publish. Everything is invented; checksums are computed here.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import random
import string
import uuid
from collections.abc import Callable
from typing import NamedTuple

Random = random.Random


def _split(words: str) -> tuple[str, ...]:
    return tuple(words.split())


_FIRST = _split("anna bruno chloé dilan elif farid greta hugo ines jonas kaja liam mira noah olga pavel rosa sven tara")
_LAST = _split("adeyemi bakker costa dubois eriksen fischer garcia haddad ivanov jansen kowalski lopez meyer o'brien")
_DOMAINS = _split("posteo.example.com mailhub.org firma-nord.de acme.co.uk univ.edu shop.io intra.desk.local bank.nl")
_AREAS = _split("212 213 312 415 617 702 305 206 404 503")
_WORDS = _split(
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
    rng = random.Random(seed)
    made = []
    for index in range(count):
        kinds = _POSITIVE if index % 3 < 2 else _NEGATIVE
        kind = rng.choice(sorted(kinds))
        made.append(_in_context(rng, kind, kinds[kind](rng), labelled=index % 3 < 2))
    return made


def rows(seed: int, megabytes: float, share: float = 0.05) -> list[Example]:
    """Rows of text as a company has them: `share` of them with personal data, twice as many with hard negatives."""
    rng = random.Random(seed)
    made: list[Example] = []
    size = 0
    while size < megabytes * 1_000_000:
        drawn = len(made) * _GOLDEN % 1  # spreads evenly, so that the share holds in any sample
        text = prose(rng, rng.randint(40, 500))
        example = Example(text, (), "prose")
        if drawn < 3 * share:
            kinds = _POSITIVE if drawn < share else _NEGATIVE
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


def _in_context(rng: Random, kind: str, made: tuple[str, str, str, str], *, labelled: bool) -> Example:
    """A sentence around a value; `made` is what stands before it, the value, what stands behind it, and the entity."""
    before, value, after, entity = made
    opening = rng.choice(("", "", prose(rng, rng.randint(2, 12)) + " ", "Hi team, ", "FYI – ", "Notes\n- "))
    closing = rng.choice(("", ".", " " + prose(rng, rng.randint(1, 9)), "\nThanks!", ", right?"))
    start = len(opening) + len(before)
    text = f"{opening}{before}{value}{after}{closing}"
    return Example(text, (Labelled(start, start + len(value), entity),) if labelled else (), kind)


# --- what is to be found ----------------------------------------------------------------------------------------


def _email(rng: Random) -> tuple[str, str, str, str]:
    first, last = rng.choice(_FIRST), rng.choice(_LAST)
    local = rng.choice(
        (
            f"{first}.{last}",
            f"{first[0]}{last}{rng.randint(1, 99)}",
            f"{first}_{last}",
            f"{first}+{rng.choice(('news', 'shop', 'test1'))}",
            f"{first}-{last}".upper(),
            first.title(),
        )
    )
    before, after = rng.choice((
        ("write to ", ""), ("<", ">"), ("mailto:", ""), ("e-mail: ", ","), ("(", ")"), ('"', '"'), ("contact=", ";"),
        ("From: " + first.title() + " <", ">"), ("reach me at ", " or by post"), ("[", "]"),
    ))  # fmt: skip
    return before, f"{local}@{rng.choice(_DOMAINS)}", after, "EMAIL_ADDRESS"


def _luhn_digit(digits: str) -> str:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (2 if place % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return str(-total % 10)


def _card_number(rng: Random) -> str:
    prefix, length = rng.choice((
        ("4", 16), ("4", 16), (str(rng.randint(51, 55)), 16), (str(rng.randint(2221, 2720)), 16), ("34", 15),
            ("37", 15),
        ("6011", 16), ("65", 16), (str(rng.randint(3528, 3589)), 16), ("36", 14),
    ))  # fmt: skip
    digits = prefix + "".join(rng.choices(string.digits, k=length - len(prefix) - 1))
    return digits + _luhn_digit(digits)


def _grouped_card(rng: Random, digits: str) -> str:
    sizes = {15: (4, 6, 5), 14: (4, 6, 4)}.get(len(digits), (4, 4, 4, 4))
    groups, place = [], 0
    for size in sizes:
        groups.append(digits[place : place + size])
        place += size
    return rng.choice(("", " ", "-", " ")).join(groups)


def _card(rng: Random) -> tuple[str, str, str, str]:
    before, after = rng.choice((
        ("my card is ", ""), ("Visa ", f" exp {rng.randint(1, 12):02}/{rng.randint(26, 31)}"), ("card no. ", ""),
        ("charged to ", " yesterday"), ("cc: ", f", cvv {rng.randint(100, 999)}"), ("", ""), ("number=", ""),
        ("Kreditkarte ", ""), ("pay with ", " please"),
    ))  # fmt: skip
    return before, _grouped_card(rng, _card_number(rng)), after, "CREDIT_CARD"


_BBAN = {
    "DE": "n18", "GB": "a4n14", "FR": "n10c11n2", "NL": "a4n10", "BE": "n12", "ES": "n20", "IT": "a1n10c12",
    "AT": "n16", "CH": "n5c12", "PL": "n24", "SE": "n20", "IE": "a4n14", "PT": "n21", "DK": "n14", "NO": "n11",
    "LU": "n3c13",
}  # fmt: skip


def _iban_number(rng: Random) -> str:
    country = rng.choice(sorted(_BBAN))
    form, bban = _BBAN[country], ""
    while form:
        kind, form = form[0], form[1:]
        size = form[:2] if form[1:2].isdigit() else form[:1]
        form = form[len(size) :]
        alphabet = {"n": string.digits, "a": string.ascii_uppercase, "c": string.digits * 3 + "ABCDEF"}[kind]
        bban += "".join(rng.choices(alphabet, k=int(size)))
    rest = int("".join(str(int(c, 36)) for c in f"{bban}{country}00")) % 97
    return f"{country}{98 - rest:02}{bban}"


def _iban(rng: Random) -> tuple[str, str, str, str]:
    number = _iban_number(rng)
    spaced = " ".join(number[i : i + 4] for i in range(0, len(number), 4))
    before, after = rng.choice((
        ("IBAN ", ""), ("transfer to ", " by monday"), ("account: ", ", BIC later"), ("", ""), ("iban=", ""),
        ("Please use ", ""), ("Konto ", ""), ("refund goes to ", " when done"),
    ))  # fmt: skip
    return before, rng.choice((number, spaced, spaced, number.lower())), after, "IBAN_CODE"


def _digits(rng: Random, count: int, first: str = string.digits) -> str:
    return rng.choice(first) + "".join(rng.choices(string.digits, k=count - 1))


def _us(rng: Random) -> tuple[str, list[str]]:
    area = rng.choice(_AREAS)
    return "1", [area, _digits(rng, 3, "23456789"), _digits(rng, 4)]


_PLANS: tuple[Callable[[Random], tuple[str, list[str]]], ...] = (
    _us,
    lambda r: ("44", ["20", "7946", _digits(r, 4)]),
    lambda r: ("44", [f"7{r.choice('4579')}{_digits(r, 2)}", _digits(r, 6)]),
    lambda r: ("49", [r.choice(("30", "89", "40")), _digits(r, 4, "23456789"), _digits(r, 4)]),
    lambda r: ("49", [r.choice(("151", "160", "171", "176")), _digits(r, 4), _digits(r, 4)]),
    lambda r: ("33", [r.choice("16"), *(_digits(r, 2, "2345678") for _ in range(4))]),
    lambda r: ("32", [f"4{r.choice('789')}{r.choice('0123456')}", *(_digits(r, 2) for _ in range(3))]),
    lambda r: ("31", ["20", _digits(r, 3, "234567"), _digits(r, 4)]),
    lambda r: ("43", ["664", _digits(r, 3), _digits(r, 4)]),
    lambda r: ("91", [r.choice("6789") + _digits(r, 4), _digits(r, 5)]),
    lambda r: ("34", [f"6{_digits(r, 2)}", _digits(r, 3), _digits(r, 3)]),
    lambda r: ("41", ["79", _digits(r, 3, "23456789"), _digits(r, 2), _digits(r, 2)]),
    lambda r: ("61", [f"4{_digits(r, 2)}", _digits(r, 3), _digits(r, 3)]),
    lambda r: ("81", ["90", _digits(r, 4, "123456789"), _digits(r, 4)]),
)


def _phone(rng: Random) -> tuple[str, str, str, str]:
    country, groups = rng.choice(_PLANS)(rng)
    joint = rng.choice((" ", " ", "-", ".", ""))
    value = rng.choice((
        f"+{country}{joint}{joint.join(groups)}",
        f"+{country} {' '.join(groups)}",
        f"+{country} ({groups[0]}) {'-'.join(groups[1:])}",
        f"00{country} {' '.join(groups)}",
        f"+{country} {groups[0]} / {' '.join(groups[1:])}",
        f"(+{country}) {' '.join(groups)}",
    ))  # fmt: skip
    before, after = rng.choice((
        ("call me on ", ""), ("Tel. ", ""), ("phone: ", ","), ("", " is my number"), ("reach us: ", " (office)"),
        ("mobile=", ""), ("WhatsApp ", " works best"), ("my number changed to ", ""), ("Fax ", ""),
    ))  # fmt: skip
    return before, value, after, "PHONE_NUMBER"


def _v4(rng: Random) -> str:
    return ".".join(str(rng.randint(1, 254)) for _ in range(4))


def _ip(rng: Random) -> tuple[str, str, str, str]:
    six = ipaddress.IPv6Address(rng.getrandbits(128) & ~(0xFFFFFFFF << 48) | (0x20010DB8 << 96) & ~0)
    value = rng.choice(
        (_v4(rng), _v4(rng), str(six), six.exploded, f"fe80::{rng.getrandbits(16):x}:{rng.getrandbits(15) + 1:x}")
    )
    after = rng.choice(("", " timed out", ", port 443", " -> gateway", " denied"))
    if "." in value:
        after = rng.choice((after, ":8080", "]"))
    return rng.choice(("login from ", "host ", "ip=", "src ", "[", "blocked ")), value, after, "IP_ADDRESS"


def _random_text(rng: Random, alphabet: str, count: int) -> str:
    return "".join(rng.choices(alphabet, k=count))


_ALNUM = string.ascii_letters + string.digits


def _key(rng: Random) -> tuple[str, str, str, str]:
    """A key in the form its vendor publishes."""
    body = _random_text(rng, _ALNUM, 36)
    value = rng.choice((
        "AKIA" + _random_text(rng, string.ascii_uppercase + "234567", 16),
        "ASIA" + _random_text(rng, string.ascii_uppercase + "234567", 16),
        "ghp_" + body,
        "ghs_" + body,
        f"xoxb-{_digits(rng, 11)}-{_digits(rng, 12)}-{_random_text(rng, _ALNUM, 24)}",
        "sk_live_" + body[:24],
        "rk_live_" + body[:24],
        "glpat-" + body[:20],
    ))  # fmt: skip
    before, after = rng.choice((
        ("use ", " for now"), ("key: ", ""), ("token=", ""), ("`", "`"), ("export X=", ""), ('"', '"'),
        ("leaked ", "!"),
    ))  # fmt: skip
    return before, value, after, "SECRET"


def _jwt(rng: Random) -> tuple[str, str, str, str]:
    def part(value: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    value = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({'sub': _digits(rng, 6), 'iat': rng.randint(1, 10**9)})}."
    value += base64.urlsafe_b64encode(rng.randbytes(32)).rstrip(b"=").decode()
    return rng.choice(("Authorization: Bearer ", "jwt ", "cookie session=", "")), value, "", "SECRET"


def _private_key(rng: Random) -> tuple[str, str, str, str]:
    kind = rng.choice(("RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY"))
    lines = [base64.b64encode(rng.randbytes(48)).decode() for _ in range(rng.randint(3, 8))]
    return "here it is:\n", f"-----BEGIN {kind}-----\n" + "\n".join(lines) + f"\n-----END {kind}-----", "\n", "SECRET"


def _password(rng: Random) -> tuple[str, str, str, str]:
    value = rng.choice(_FIRST).title() + rng.choice("!#%_-") + _random_text(rng, _ALNUM, 5) + rng.choice(string.digits)
    before, after = rng.choice((
        ('password = "', '"'), ("password: ", ""), ("DB_PASSWORD=", "\n"), ("my password is ", " ok"), ("pwd='", "'"),
        ('{"password": "', '"}'), ("Passwort: ", ""), ("passwd: ", " thanks"),
    ))  # fmt: skip
    return before, value, after, "SECRET"


def _api_key(rng: Random) -> tuple[str, str, str, str]:
    value = rng.choice((_random_text(rng, _ALNUM, 32), rng.randbytes(20).hex(), _random_text(rng, _ALNUM + "-_", 40)))
    value = "k" + value[1:-1] + "7"
    before, after = rng.choice((
        ("api_key=", ""), ('apiKey: "', '"'), ("API key: ", ""), ("client_secret = '", "'"), ("secret: ", ""),
        ("access_key: ", "\n"), ("auth token is ", ""),
    ))  # fmt: skip
    return before, value, after, "SECRET"


def _url(rng: Random) -> tuple[str, str, str, str]:
    """The part of a URL that lets one in: user and password, or a token."""
    host, word = rng.choice(_DOMAINS), _random_text(rng, _ALNUM, 12)
    if rng.random() < 0.6:
        scheme = rng.choice(("https", "postgres", "ftp", "mongodb+srv", "redis"))
        return (
            f"{scheme}://",
            f"{rng.choice(_FIRST).replace('é', 'e')}:{word}{rng.choice(('', '!', '.9'))}",
            f"@{host}/db",
            "URL_CREDENTIALS",
        )
    name = rng.choice(("token", "access_token", "api_key", "sig", "apikey"))
    return f"https://{host}/v1/items?page=2&{name}=", word * 2, rng.choice(("", "&sort=asc")), "URL_CREDENTIALS"


# --- what only looks like it --------------------------------------------------------------------------------------


def _plain(*forms: Callable[[Random], str]) -> Callable[[Random], tuple[str, str, str, str]]:
    return lambda rng: ("", rng.choice(forms)(rng), "", "")


def _failing_card(rng: Random) -> str:
    number = _card_number(rng)
    wrong = number[:-1] + str((int(number[-1]) + rng.randint(1, 9)) % 10)
    return rng.choice(("card ", "item ", "")) + _grouped_card(rng, wrong)


def _failing_iban(rng: Random) -> str:
    number = _iban_number(rng)
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
    body = "978" + _digits(rng, 9)
    check = -sum(int(d) * (3 if i % 2 else 1) for i, d in enumerate(body)) % 10
    return f"ISBN {body[:3]}-{body[3]}-{body[4:8]}-{body[8:12]}-{check}"


_POSITIVE: dict[str, Callable[[Random], tuple[str, str, str, str]]] = {
    "api key": _api_key, "card": _card, "email": _email, "iban": _iban, "ip": _ip, "jwt": _jwt, "key": _key,
    "password": _password, "phone": _phone, "private key": _private_key, "url": _url,
}  # fmt: skip
_NEGATIVE: dict[str, Callable[[Random], tuple[str, str, str, str]]] = {
    "card that fails": _plain(_failing_card),
    "code": _plain(
        lambda r: f"std::vector<int>::iterator at line {r.randint(1, 900)}",
        lambda r: f"npm install react@{r.randint(1, 18)}.{r.randint(0, 9)}.0",
        lambda r: f"@{r.choice(_FIRST)}_{r.randint(1, 99)} said so",
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
        lambda r: f"order {_digits(r, 10)}",
        lambda r: f"Invoice no. {_digits(r, 8)}",
        lambda r: f"ticket #{_digits(r, 7)}",
        lambda r: f"BR-{_digits(r, 8)}",
        lambda r: f"PO {_digits(r, 4)}-{_digits(r, 6)}",
        lambda r: f"tracking 1Z{_digits(r, 3)}AA1{_digits(r, 10)}",
        lambda r: f"customer id {_digits(r, 9)}",
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
