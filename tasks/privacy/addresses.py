"""E-mail and IP addresses, and URLs that carry credentials."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from urllib.parse import urlsplit

from tasks.privacy.recognisers import findings
from tasks.privacy.spans import Span

_ADDRESS_REACH = 320  # the longest e-mail address has 254 characters
# Up to the last label that begins as a top level domain: what stands behind its letters is no part of the address.
_DOMAIN = re.compile(r".*\.(?:xn--[A-Za-z0-9-]*[A-Za-z0-9]|[^\W\d_]{2,})")
_VERSION = re.compile(r"v?[0-9]+(?:\.[0-9]+)+")  # of a package, as in react@18.2.0-next.cafe12
# A recogniser takes what mailboxes hardly ever hold (a field's name and its sign, a path, Markdown) for part of one.
_AHEAD = re.compile(r"(?:.*[=|/&?*`{}#~^])?[\W_]*")
_RETURN_PATH = re.compile(r"(?:srs[01]|prvs|btv[0-9]|bounces?)[-+=]", re.IGNORECASE)  # holds an address of its own
_V4 = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})(?![0-9])")
_OCTET = 255
_V4_MIDDLE = re.compile(r"\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]")
_V6_MIDDLE = re.compile(r"::|:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]")
_V6_CHARACTER = re.compile(r"[0-9A-Fa-f:.%/]+")
_ADDRESS_LIMIT = 64
_SAYS_VERSION = re.compile(
    r"\b(?:v|ver|version|build|release|firmware|patch|section|kernel|oid)[\s.:]*$", re.IGNORECASE
)
_MIN_SCORE = 0.15  # Presidio gives the unspecified IPv6 address `::` 0.1
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]{1,20}$")
_URL_REST = re.compile(r"://[^\s\"'<>`|\x01]{3,2000}")
_SCHEME_REACH = 24
_TOKEN_NAME = re.compile(
    r"(?:access|auth|refresh|id|api|app|client|session|secret|private|x-amz|sas)?[-_]?"
    r"(?:token|key|apikey|secret|password|passwd|pwd|signature|sig|credential)",
    re.IGNORECASE,
)
_TOKEN_CHARACTERS = 8
_URL_SCORE = 0.97  # above e-mail: `user:word@host.com` in a URL is no address


def emails(text: str) -> Iterator[Span]:
    for offset, word in _words_with_at(text):
        for start, end, score in findings("EMAIL_ADDRESS", word):
            local, _, domain = word[start:end].rpartition("@")
            own = _DOMAIN.match(domain)
            if own is None or (own.end() < len(domain) and _VERSION.match(domain)):
                continue
            first = offset + start + mailbox_start(local)
            yield Span(first, offset + end - len(domain) + own.end(), "EMAIL_ADDRESS", score)


def mailbox_start(local: str) -> int:
    """Where the mailbox starts in what stands before an `@`: behind `user=`, a path, the `_` and `*` of Markdown.

    A return path of a mail server is one value as a whole: it has the address of a person before its signs.
    """
    ahead = _AHEAD.match(local)
    start = ahead.end() if ahead and not _RETURN_PATH.match(local) else 0
    return start if start < len(local) else 0


def _words_with_at(text: str) -> Iterator[tuple[int, str]]:
    """Stretches around each `@`, at white space: the recogniser's pattern is quadratic on long stretches."""
    done = 0
    for at in re.finditer("@", text):
        if at.start() < done:
            continue
        start = max(done, at.start() - _ADDRESS_REACH)
        head = re.search(r"\S*\Z", text[start : at.start()])
        tail = re.match(r"\S*", text[at.start() : at.start() + _ADDRESS_REACH])
        start = at.start() - len(head.group() if head else "")
        done = at.start() + len(tail.group() if tail else "")
        yield start, text[start:done]


def ip_addresses(text: str) -> Iterator[Span]:
    done = 0
    for middle in _V4_MIDDLE.finditer(text):
        if middle.start() >= done and (":" in text or _may_be_v4(text, middle.start())):
            done = yield from _ip_around(text, middle.start(), done)
    if "::" not in text and text.count(":") < 7:
        return
    done = 0
    for middle in _V6_MIDDLE.finditer(text):
        if middle.start() >= done:
            done = yield from _ip_around(text, middle.start(), done)


def _may_be_v4(text: str, at: int) -> bool:
    """Whether four numbers up to 255 stand around the first dot; most dotted numbers are versions and dates."""
    found = _V4.search(text[max(0, at - 3) : at + 13])
    return found is not None and all(int(part) <= _OCTET for part in found.groups())


def _ip_around(text: str, at: int, done: int) -> Generator[Span, None, int]:
    """Findings in the stretch of address characters around a position; returns where that stretch ends."""
    start = at
    while start > max(done, at - _ADDRESS_LIMIT) and text[start - 1] in "0123456789abcdefABCDEF:.%/":
        start -= 1
    stretch = _V6_CHARACTER.match(text, at, min(len(text), at + _ADDRESS_LIMIT))
    end = stretch.end() if stretch else at + 1
    first = max(0, start - 2)
    for a, b, score in findings("IP_ADDRESS", text[first : end + 2]):
        if score >= _MIN_SCORE and _is_address(text, first + a, first + b):
            yield Span(first + a, first + b, "IP_ADDRESS", score)
    return end


def _is_address(text: str, start: int, end: int) -> bool:
    found = text[start:end]
    if ":" in found:
        return "." in found or (found.count(":") >= 2 and any(c.isdigit() for c in found))
    longer = text[start - 1 : start] == "." or re.match(r"\.[0-9]", text[end : end + 2])
    return not longer and not _SAYS_VERSION.search(text[max(0, start - 20) : start])


def url_credentials(text: str) -> Iterator[Span]:
    """User and password of URLs, and the values of their parameters that are named as a token or a key."""
    for rest in _URL_REST.finditer(text):
        scheme = _SCHEME.search(text[max(0, rest.start() - _SCHEME_REACH) : rest.start()])
        if scheme is None:
            continue
        url, start = scheme.group() + rest.group(), rest.start() - len(scheme.group())
        if "@" in url:
            yield from _user_and_password(url, start)
        if "=" in url:
            yield from _tokens(url, start)


def _user_and_password(url: str, offset: int) -> Iterator[Span]:
    try:
        host_part = urlsplit(url).netloc
    except ValueError:  # brackets that hold no address
        return
    user, at, _ = host_part.rpartition("@")
    if at and user.partition(":")[2]:
        start = offset + url.index("://") + 3
        yield Span(start, start + len(user), "URL_CREDENTIALS", _URL_SCORE)


def _tokens(url: str, offset: int) -> Iterator[Span]:
    for pair in re.finditer(r"(?<=[?&#;])([\w.-]{1,40})=([^&#;\s]+)", url):
        name, value = pair.groups()
        if len(value) >= _TOKEN_CHARACTERS and _TOKEN_NAME.fullmatch(name):
            yield Span(offset + pair.start(2), offset + pair.end(2), "URL_CREDENTIALS", _URL_SCORE)
