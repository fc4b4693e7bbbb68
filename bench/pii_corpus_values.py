"""Invented values with the form of personal data, each with the words around it; for bench/pii_corpus.py."""

from __future__ import annotations

import base64
import ipaddress
import json
import random
import string
from collections.abc import Callable

Random = random.Random
Made = tuple[str, str, str, str]
"""What stands before a value, the value, what stands behind it, and its entity."""


def split_words(words: str) -> tuple[str, ...]:
    return tuple(words.split())


FIRST_NAMES = split_words(
    "anna bruno chloé dilan elif farid greta hugo ines jonas kaja liam mira noah olga pavel rosa sven tara"
)
_LAST = split_words(
    "adeyemi bakker costa dubois eriksen fischer garcia haddad ivanov jansen kowalski lopez meyer o'brien"
)
_DOMAINS = split_words(
    "posteo.example.com mailhub.org firma-nord.de acme.co.uk univ.edu shop.io intra.desk.local bank.nl"
)
_AREAS = split_words("212 213 312 415 617 702 305 206 404 503")


def _email(rng: Random) -> Made:
    first, last = rng.choice(FIRST_NAMES), rng.choice(_LAST)
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


def card_number(rng: Random) -> str:
    prefix, length = rng.choice((
        ("4", 16), ("4", 16), (str(rng.randint(51, 55)), 16), (str(rng.randint(2221, 2720)), 16), ("34", 15),
            ("37", 15),
        ("6011", 16), ("65", 16), (str(rng.randint(3528, 3589)), 16), ("36", 14),
    ))  # fmt: skip
    digits = prefix + "".join(rng.choices(string.digits, k=length - len(prefix) - 1))
    return digits + _luhn_digit(digits)


def grouped_card(rng: Random, digits: str) -> str:
    sizes = {15: (4, 6, 5), 14: (4, 6, 4)}.get(len(digits), (4, 4, 4, 4))
    groups, place = [], 0
    for size in sizes:
        groups.append(digits[place : place + size])
        place += size
    return rng.choice(("", " ", "-", " ")).join(groups)


def _card(rng: Random) -> Made:
    before, after = rng.choice((
        ("my card is ", ""), ("Visa ", f" exp {rng.randint(1, 12):02}/{rng.randint(26, 31)}"), ("card no. ", ""),
        ("charged to ", " yesterday"), ("cc: ", f", cvv {rng.randint(100, 999)}"), ("", ""), ("number=", ""),
        ("Kreditkarte ", ""), ("pay with ", " please"),
    ))  # fmt: skip
    return before, grouped_card(rng, card_number(rng)), after, "CREDIT_CARD"


_BBAN = {
    "DE": "n18", "GB": "a4n14", "FR": "n10c11n2", "NL": "a4n10", "BE": "n12", "ES": "n20", "IT": "a1n10c12",
    "AT": "n16", "CH": "n5c12", "PL": "n24", "SE": "n20", "IE": "a4n14", "PT": "n21", "DK": "n14", "NO": "n11",
    "LU": "n3c13",
}  # fmt: skip


def iban_number(rng: Random) -> str:
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


def _iban(rng: Random) -> Made:
    number = iban_number(rng)
    spaced = " ".join(number[i : i + 4] for i in range(0, len(number), 4))
    before, after = rng.choice((
        ("IBAN ", ""), ("transfer to ", " by monday"), ("account: ", ", BIC later"), ("", ""), ("iban=", ""),
        ("Please use ", ""), ("Konto ", ""), ("refund goes to ", " when done"),
    ))  # fmt: skip
    return before, rng.choice((number, spaced, spaced, number.lower())), after, "IBAN_CODE"


def digits(rng: Random, count: int, first: str = string.digits) -> str:
    return rng.choice(first) + "".join(rng.choices(string.digits, k=count - 1))


def _us(rng: Random) -> tuple[str, list[str]]:
    area = rng.choice(_AREAS)
    return "1", [area, digits(rng, 3, "23456789"), digits(rng, 4)]


_PLANS: tuple[Callable[[Random], tuple[str, list[str]]], ...] = (
    _us,
    lambda r: ("44", ["20", "7946", digits(r, 4)]),
    lambda r: ("44", [f"7{r.choice('4579')}{digits(r, 2)}", digits(r, 6)]),
    lambda r: ("49", [r.choice(("30", "89", "40")), digits(r, 4, "23456789"), digits(r, 4)]),
    lambda r: ("49", [r.choice(("151", "160", "171", "176")), digits(r, 4), digits(r, 4)]),
    lambda r: ("33", [r.choice("16"), *(digits(r, 2, "2345678") for _ in range(4))]),
    lambda r: ("32", [f"4{r.choice('789')}{r.choice('0123456')}", *(digits(r, 2) for _ in range(3))]),
    lambda r: ("31", ["20", digits(r, 3, "234567"), digits(r, 4)]),
    lambda r: ("43", ["664", digits(r, 3), digits(r, 4)]),
    lambda r: ("91", [r.choice("6789") + digits(r, 4), digits(r, 5)]),
    lambda r: ("34", [f"6{digits(r, 2)}", digits(r, 3), digits(r, 3)]),
    lambda r: ("41", ["79", digits(r, 3, "23456789"), digits(r, 2), digits(r, 2)]),
    lambda r: ("61", [f"4{digits(r, 2)}", digits(r, 3), digits(r, 3)]),
    lambda r: ("81", ["90", digits(r, 4, "123456789"), digits(r, 4)]),
)


def _phone(rng: Random) -> Made:
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


def _ip(rng: Random) -> Made:
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


def _key(rng: Random) -> Made:
    """A key in the form its vendor publishes."""
    body = _random_text(rng, _ALNUM, 36)
    value = rng.choice((
        "AKIA" + _random_text(rng, string.ascii_uppercase + "234567", 16),
        "ASIA" + _random_text(rng, string.ascii_uppercase + "234567", 16),
        "ghp_" + body,
        "ghs_" + body,
        f"xoxb-{digits(rng, 11)}-{digits(rng, 12)}-{_random_text(rng, _ALNUM, 24)}",
        "sk_live_" + body[:24],
        "rk_live_" + body[:24],
        "glpat-" + body[:20],
    ))  # fmt: skip
    before, after = rng.choice((
        ("use ", " for now"), ("key: ", ""), ("token=", ""), ("`", "`"), ("export X=", ""), ('"', '"'),
        ("leaked ", "!"),
    ))  # fmt: skip
    return before, value, after, "SECRET"


def _jwt(rng: Random) -> Made:
    def part(value: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    value = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({'sub': digits(rng, 6), 'iat': rng.randint(1, 10**9)})}."
    value += base64.urlsafe_b64encode(rng.randbytes(32)).rstrip(b"=").decode()
    return rng.choice(("Authorization: Bearer ", "jwt ", "cookie session=", "")), value, "", "SECRET"


def _private_key(rng: Random) -> Made:
    kind = rng.choice(("RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY"))
    lines = [base64.b64encode(rng.randbytes(48)).decode() for _ in range(rng.randint(3, 8))]
    return "here it is:\n", f"-----BEGIN {kind}-----\n" + "\n".join(lines) + f"\n-----END {kind}-----", "\n", "SECRET"


def _password(rng: Random) -> Made:
    value = (
        rng.choice(FIRST_NAMES).title() + rng.choice("!#%_-") + _random_text(rng, _ALNUM, 5) + rng.choice(string.digits)
    )
    before, after = rng.choice((
        ('password = "', '"'), ("password: ", ""), ("DB_PASSWORD=", "\n"), ("my password is ", " ok"), ("pwd='", "'"),
        ('{"password": "', '"}'), ("Passwort: ", ""), ("passwd: ", " thanks"),
    ))  # fmt: skip
    return before, value, after, "SECRET"


def _api_key(rng: Random) -> Made:
    value = rng.choice((_random_text(rng, _ALNUM, 32), rng.randbytes(20).hex(), _random_text(rng, _ALNUM + "-_", 40)))
    value = "k" + value[1:-1] + "7"
    before, after = rng.choice((
        ("api_key=", ""), ('apiKey: "', '"'), ("API key: ", ""), ("client_secret = '", "'"), ("secret: ", ""),
        ("access_key: ", "\n"), ("auth token is ", ""),
    ))  # fmt: skip
    return before, value, after, "SECRET"


def _url(rng: Random) -> Made:
    """The part of a URL that lets one in: user and password, or a token."""
    host, word = rng.choice(_DOMAINS), _random_text(rng, _ALNUM, 12)
    if rng.random() < 0.6:
        scheme = rng.choice(("https", "postgres", "ftp", "mongodb+srv", "redis"))
        return (
            f"{scheme}://",
            f"{rng.choice(FIRST_NAMES).replace('é', 'e')}:{word}{rng.choice(('', '!', '.9'))}",
            f"@{host}/db",
            "URL_CREDENTIALS",
        )
    name = rng.choice(("token", "access_token", "api_key", "sig", "apikey"))
    return f"https://{host}/v1/items?page=2&{name}=", word * 2, rng.choice(("", "&sort=asc")), "URL_CREDENTIALS"


POSITIVE: dict[str, Callable[[Random], Made]] = {
    "api key": _api_key, "card": _card, "email": _email, "iban": _iban, "ip": _ip, "jwt": _jwt, "key": _key,
    "password": _password, "phone": _phone, "private key": _private_key, "url": _url,
}  # fmt: skip
