"""Made-up personal values and secrets, written the way they stand in mails, logs, invoices and config files.

Every value is drawn at run time. The formats come from public sources only:

* cards: the issuers' published number ranges (ISO/IEC 7812), the Luhn digit is computed;
* IBAN: SWIFT IBAN registry (country, BBAN structure), ISO 7064 mod 97-10 check digits are computed;
* e-mail: RFC 5321/5322 addresses on invented domains; IP: RFC 791, RFC 4291, text forms of RFC 5952.
"""

import ipaddress
import string
from random import Random
from typing import NamedTuple

DIGITS = string.digits
HEX = "0123456789abcdef"
UPPER = string.ascii_uppercase
ALNUM = string.digits + string.ascii_uppercase + string.ascii_lowercase
URL64 = ALNUM + "-_"
STD64 = ALNUM + "+/"
NBSP = "\u00a0"


class Piece(NamedTuple):
    """A value with the text that belongs directly around it (``before`` and ``after`` carry no label)."""

    before: str
    value: str
    after: str = ""


def chars(rng: Random, alphabet: str, length: int) -> str:
    """``length`` characters of ``alphabet``; the last one is a letter or digit so that no sentence sign is mistaken."""
    tail = [sign for sign in alphabet if sign.isalnum()]
    return "".join(rng.choice(alphabet) for _ in range(length - 1)) + rng.choice(tail)


def fill(rng: Random, pattern: str) -> str:
    """``*`` becomes 0-9, ``N`` becomes 2-9, all else stays."""
    return "".join(rng.choice(DIGITS if c == "*" else DIGITS[2:]) if c in "*N" else c for c in pattern)


def luhn_sum(number: str) -> int:
    """Luhn sum modulo ten of a digit string; 0 for a valid number."""
    doubled = [int(d) * (2 if i % 2 else 1) for i, d in enumerate(reversed(number))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10


def mod97(iban: str) -> int:
    """ISO 7064 mod 97-10 of a compact IBAN; 1 for a valid one."""
    return int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97


# --- people and domains -------------------------------------------------------------------------------------------

FIRST = (
    "anna", "jonas", "marie", "lukas", "sofia", "paul", "claire", "hugo", "elena", "marco", "ines", "david", "priya",
    "kenji", "lars", "nora", "tomasz", "eva",
)  # fmt: skip
_ONSET = (
    "b", "br", "d", "dr", "f", "fl", "g", "gr", "h", "k", "kl", "l", "m", "n", "p", "r", "s", "st", "t", "tr", "v",
    "w", "z",
)  # fmt: skip
_NUCLEUS = (
    "a", "e", "i", "o", "u", "ei", "au", "ie",
)  # fmt: skip
_TLDS = (
    "com", "net", "org", "de", "fr", "es", "it", "nl", "at", "ch", "be", "pl", "se", "eu", "io", "dev", "app",
    "co.uk", "org.uk", "com.br", "com.au", "co.jp", "co.in", "ca", "info", "cloud", "online", "health", "consulting",
    "photography", "email", "gmbh", "berlin",
)  # fmt: skip
_ROLES = (
    "info", "support", "billing", "kontakt", "office", "hr", "rechnung", "hello", "no-reply", "ventas",
)  # fmt: skip


def syllables(rng: Random, count: int) -> str:
    """An invented lower-case word."""
    return "".join(rng.choice(_ONSET) + rng.choice(_NUCLEUS) for _ in range(count)) + rng.choice(
        ("n", "r", "l", "s", "")
    )


def domain(rng: Random) -> str:
    """An invented host name under one of many top-level domains."""
    name = syllables(rng, rng.choice((2, 3)))
    name += rng.choice(("", "", "", "-gruppe", "-it", "24", "-" + syllables(rng, 1)))
    if rng.random() < 0.03:
        name = rng.choice(("mü", "grö", "café-")) + name
    sub = rng.choice(("", "", "", "", "mail.", "eu.", "corp.", "cs.uni-", "mx1.lan."))
    return f"{sub}{name}.{rng.choice(_TLDS)}"


def email(rng: Random) -> str:
    """An address on an invented domain."""
    first, last = rng.choice(FIRST), syllables(rng, 2)
    year = str(rng.randint(58, 99))
    forms = (
        f"{first}.{last}",
        f"{first[0]}.{last}",
        f"{first}_{last}",
        f"{first}-{last}",
        f"{last}{first[0]}",
        first + year,
    )
    rare = (
        f"{first}.{last}+{syllables(rng, 1)}",
        f"{last}+{year}",
        f"{first}.o'{last}",
        rng.choice(_ROLES),
        f"{first}.m.{last}{year}",
    )
    address = rng.choice(forms if rng.random() < 0.6 else rare) + "@" + domain(rng)
    shape = rng.random()
    return address.upper() if shape < 0.05 else address.title() if shape < 0.1 else address


def email_piece(rng: Random) -> Piece:
    """An address with what mail programs and people put around it."""
    who = f"{rng.choice(FIRST).title()} {syllables(rng, 2).title()}"
    around = (("", ""), ("", ""), ("<", ">"), ("mailto:", ""), (f'"{who}" <', ">"), (f"{who} <", ">"), ("✉ ", ""))
    more = (("(", ")"), ("E-Mail:", ""), ("„", "“"), ("[mail](mailto:", ")"), ("mailto:", "?subject=Hallo"), ("'", "'"))
    before, after = rng.choice(around + more)
    return Piece(before, email(rng), after)


# --- cards and accounts -------------------------------------------------------------------------------------------

_ISSUERS = (
    *(("4", 16),) * 5, ("4", 13), ("4", 19),
    *((p, 16) for p in ("51", "52", "53", "54", "55", "2221", "2385", "2499", "2700")), ("34", 15), ("37", 15),
    ("37", 15), ("6011", 16), ("645", 16), ("65", 16), ("36", 14), ("301", 14), ("3530", 16), ("3566", 16),
    ("5018", 16), ("5038", 16), ("6304", 16), ("62", 16), ("62", 19),
)  # fmt: skip


def grouped(number: str, sep: str) -> str:
    """Digits in the groups printed on the card: 4-6-5, 4-6-4, else fours."""
    if len(number) in (14, 15):
        return sep.join((number[:4], number[4:10], number[10:]))
    return sep.join(number[i : i + 4] for i in range(0, len(number), 4))


def card(rng: Random, error: int = 0) -> str:
    """A card number; an ``error`` of 1-9 is added to the Luhn digit."""
    prefix, length = rng.choice(_ISSUERS)
    body = fill(rng, prefix.ljust(length - 1, "*"))
    check = (-luhn_sum(body + "0") + error) % 10
    return grouped(f"{body}{check}", rng.choice(("", "", " ", " ", " ", "-", "-", NBSP)))


_BBANS = {
    "DE": "n18", "AT": "n16", "CH": "n5c12", "FR": "n10c11n2", "GB": "a4n14", "ES": "n20", "IT": "a1n10c12",
    "NL": "a4n10", "BE": "n12", "PL": "n24", "SE": "n20", "PT": "n21", "IE": "a4n14", "DK": "n14", "FI": "n14",
    "NO": "n11", "LU": "n3c13", "CZ": "n20", "LI": "n5c12", "GR": "n7c16", "AE": "n19", "SA": "n2c18", "TR": "n6c16",
    "MT": "a4n5c18", "BR": "n23a1c1",
}  # fmt: skip
_IBAN_DRAW = (*_BBANS, *("DE", "DE", "DE", "AT", "CH", "FR", "GB", "ES", "IT", "NL", "BE", "PL", "SE"))


def _bban(rng: Random, structure: str) -> str:
    parts = structure.replace("n", " n").replace("a", " a").replace("c", " c").split()
    letters = UPPER if rng.random() < 0.25 else DIGITS
    kinds = {"n": DIGITS, "a": UPPER, "c": DIGITS + letters}
    return "".join(chars(rng, kinds[part[0]], int(part[1:])) for part in parts)


def iban(rng: Random, error: int = 0) -> str:
    """An IBAN of the registry's structure; an ``error`` of 1-90 spoils the check digits."""
    country = rng.choice(_IBAN_DRAW)
    body = _bban(rng, _BBANS[country])
    check = 98 - mod97(f"{country}00{body}")
    code = f"{country}{(check - 2 + error) % 97 + 2:02d}{body}"
    sep = rng.choice(("", "", " ", " ", " ", NBSP, "-")) if rng.random() < 0.9 else ""
    code = sep.join(code[i : i + 4] for i in range(0, len(code), 4))
    return code.lower() if rng.random() < 0.03 else code


# --- addresses on the network -------------------------------------------------------------------------------------


def ipv4(rng: Random) -> str:
    """A host address, about a third of them private (RFC 1918)."""
    private = (f"10.{rng.randint(0, 255)}", f"192.168.{rng.randint(0, 255)}", f"172.{rng.randint(16, 31)}")
    public = str(rng.choice([n for n in range(2, 224) if n not in (10, 127, 169, 172, 192, 198, 203)]))
    head = rng.choice(private if rng.random() < 0.33 else (public,)).split(".")
    middle = [str(rng.randint(0, 255)) for _ in range(3 - len(head))]
    return ".".join([*head, *middle, str(rng.randint(1, 254))])


def ipv6(rng: Random) -> str:
    """A global, unique-local, link-local or IPv4-mapped address in one of the text forms of RFC 4291."""
    if rng.random() < 0.06:
        return f"::ffff:{ipv4(rng)}"
    heads = (
        f"2a{rng.randint(0, 15):02x}",
        "2003",
        "2600",
        "240b",
        "2001",
        "2804",
        f"fd{rng.randint(0, 255):02x}",
        "fe80",
    )
    head = rng.choice(heads)
    middle = [0, 0, 0] if head == "fe80" else [rng.randint(0x100, 0xFFFF) for _ in range(3)]
    zeros = rng.choice((0, 0, 1, 2, 3))
    words = [int(head, 16), *middle, *[0] * zeros, *(rng.randint(1, 0xFFFF) for _ in range(4 - zeros))]
    address = ipaddress.IPv6Address(b"".join(word.to_bytes(2, "big") for word in words))
    plain = ":".join(f"{word:x}" for word in words)
    return rng.choice((address.compressed,) * 5 + (address.exploded, plain, address.compressed.upper()))


def ip(rng: Random) -> str:
    """Version 4 or 6."""
    return ipv4(rng) if rng.random() < 0.6 else ipv6(rng)


def ip_piece(rng: Random) -> Piece:
    """An address with the port, prefix length or URL around it."""
    address = ip(rng)
    if ":" not in address:
        four = (
            ("", ""),
            ("", ""),
            ("", ":8443"),
            ("", "/24"),
            ("http://", ":8080/health"),
            ("https://", "/login"),
            ("ssh root@", ""),
            ("[", "]"),
        )
        return Piece(*_put(rng.choice(four), address))
    six: tuple[tuple[str, str], ...] = (
        ("", ""),
        ("", ""),
        ("[", "]:443"),
        ("", "/64"),
        ("https://[", "]/admin"),
        ("http://[", "]:9090/metrics"),
        ("[", "]"),
    )
    if address.lower().startswith("fe80"):
        six = (*six, ("", "%eth0"))
    return Piece(*_put(rng.choice(six), address))


def _put(around: tuple[str, str], value: str) -> tuple[str, str, str]:
    return around[0], value, around[1]
