"""Keys, tokens and passwords, as detect-secrets knows them.

Its detectors read line by line and give values, not positions; here their patterns run only in texts that hold the
fixed beginning of such a key, and its entropy measures and filters judge what stands after a word such as `password`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

from tasks.privacy.gate import BLOCK_MARKS, KEY_MARKS, SAYS_SECRET, SIGNIFICANT
from tasks.privacy.key_forms import KEY_FORM
from tasks.privacy.replacement import BLANK
from tasks.privacy.spans import Span

_ENCRYPTED_BLOCK = re.compile("BEGIN ENCRYPTED PRIVATE KEY")  # PKCS 8, which detect-secrets leaves out
_BLOCK_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_BLOCK_LINES = re.compile(r"[-:\s]*(?:(?:\\n|\s)*[A-Za-z0-9+/=]{16,})*")
_BLOCK_LIMIT = 20_000
_TOKEN = re.compile(r"[A-Za-z0-9_-]*")
_JWT_MARK = "eyJ"
_JWT_WORD = re.compile(r"[A-Za-z0-9_.+/=-]*")
_SIGNATURE = re.compile(r"[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)?=*")
_SCORE = 0.9
# Beginning of a word → whether a password follows; found by plain search, which a pattern that ignores case is not.
_STEMS = {
    "passw": True, "pwd": True, "passphrase": True, "contrase": True,
    "secret": False, "token": False, "bearer": False, "key": False,
}  # fmt: skip
_KEY = re.compile(rf"(?:{SAYS_SECRET})$")
_MIXED = re.compile(SIGNIFICANT)
_KEY_OWNER_REACH = 20
_TAIL = re.compile(
    r"\w{0,20}[\"'`\])]{0,2}[ \t]{0,3}(?P<sign>:=|=>|={1,3}|:|->|\b(?:is|was|lautet|ist)\b:?|(?<=[Bb]earer))[ \t]{0,3}"
    rf"(?P<quote>[\"'`]?)(?P<value>[^\s\"'`<>{BLANK}]{{6,200}})",
    re.IGNORECASE,
)
_NAME_ENDS = re.compile(r"\w{0,20}[\"'`\])]{0,2}\s{0,3}[:=]\s{0,3}\"?")
# A call, a masked value, a name to be filled in, a placeholder of a format string, a tag of YAML.
_STANDS_FOR_ONE = re.compile(
    r"\w\((?:.*\)$|$)|[*•]{3}|^(?i:your|my|the)[-_](?i:[a-z]+[-_]?)+$|^%\(\w+\)|^%[({]\w+|^!(?:[a-z]+)$"
)
_PASSWORD_CHARACTERS, _KEY_CHARACTERS = 6, 16
_KEY_ENTROPY = 3.2  # bits a character; words and names lie below, 16 random letters and digits above


def keys(text: str) -> Iterator[Span]:
    """Keys that their vendors gave a form of their own, and blocks of private keys."""
    for detector, marks in KEY_MARKS.items():
        if any(mark in text for mark in marks):
            yield from _of_detector(text, *detector.split("."))
    for found in KEY_FORM.finditer(text):
        yield Span(found.start(), found.end(), "SECRET", _SCORE)
    if any(mark in text for mark in BLOCK_MARKS):
        yield from _key_blocks(text)


def assigned_secrets(text: str, before: str = "") -> Iterator[Span]:
    """Values that a word such as `password` or `api key` announces."""
    for end, password in _secret_words(text):
        yield from _assigned(text, end, password=password)
    if before:
        yield from _named_before(text, before)


def _secret_words(text: str) -> Iterator[tuple[int, bool]]:
    """Where a word such as `password` or `api key` has its stem, and whether it announces a password."""
    lower = text.lower()
    if len(lower) != len(text):  # some letters have a longer small form
        lower = "".join(c.lower() if c.isascii() else c for c in text)
    for stem, password in _STEMS.items():
        at = lower.find(stem)
        while at >= 0:
            end = at + len(stem)
            if stem != "key" or _KEY.search(lower[max(0, at - _KEY_OWNER_REACH) : end]):
                yield end, password
            at = lower.find(stem, end)


def _of_detector(text: str, module: str, name: str) -> Iterator[Span]:
    detector = _detector(module, name)
    if module == "jwt":
        yield from _web_tokens(text, detector)
        return
    for pattern in detector.denylist:
        for found in pattern.finditer(text):
            start, end = found.span(1) if module == "aws" and found.lastindex else found.span()
            rest = _TOKEN.match(text, end)  # their patterns stop at the shortest key
            yield Span(start, rest.end() if rest else end, "SECRET", _SCORE)


def _web_tokens(text: str, detector: Any) -> Iterator[Span]:
    """One try for each word: the detector's pattern, searched for, takes time with the square of a long word."""
    at = text.find(_JWT_MARK)
    while at >= 0:
        word = _JWT_WORD.match(text, at)
        end = word.end() if word else at + len(_JWT_MARK)
        found = detector.denylist[0].match(text, at, end)
        if found and detector.is_formally_valid(found.group()):
            signature = _SIGNATURE.match(text, found.end())
            yield Span(at, signature.end() if signature else found.end(), "SECRET", _SCORE)
        at = text.find(_JWT_MARK, end)


def _key_blocks(text: str) -> Iterator[Span]:
    """Whole blocks: detect-secrets knows their first line only."""
    for pattern in (*_detector("private_key", "PrivateKeyDetector").denylist, _ENCRYPTED_BLOCK):
        for found in pattern.finditer(text):
            start = found.start()
            while start and text[start - 1] == "-":
                start -= 1
            end = _BLOCK_END.search(text, found.end(), found.end() + _BLOCK_LIMIT)
            lines = _BLOCK_LINES.match(text, found.end())
            yield Span(start, end.end() if end else (lines or found).end(), "SECRET", _SCORE)


def _assigned(text: str, end: int, *, password: bool) -> Iterator[Span]:
    """The value that is given to a word such as `password` or `api_key`."""
    tail = _TAIL.match(text, end)
    if tail is None:
        return
    value = tail["value"] if tail["quote"] else tail["value"].rstrip(".,;:)]}")
    said = tail["sign"].isalpha()
    if _is_secret(value, password=password, quoted=bool(tail["quote"]) and not said):
        start = tail.start("value")
        yield Span(start, start + len(value), "SECRET", _SCORE)


def _named_before(text: str, before: str) -> Iterator[Span]:
    """A whole text that is the value of a field named as a secret."""
    if any(c.isspace() for c in text):
        return
    for end, password in _secret_words(before):
        if _NAME_ENDS.fullmatch(before, end) and _is_secret(text, password=password, quoted=True):
            yield Span(0, len(text), "SECRET", _SCORE)


def _is_secret(value: str, *, password: bool, quoted: bool) -> bool:
    heuristic = _heuristics()
    if heuristic.is_templated_secret(value) or heuristic.is_prefixed_with_dollar_sign(value):
        return False
    if heuristic.is_not_alphanumeric_string(value) or _STANDS_FOR_ONE.search(value):
        return False
    if password:
        return len(value) >= _PASSWORD_CHARACTERS and (quoted or bool(_MIXED.search(value))) and "://" not in value
    if len(value) < _KEY_CHARACTERS or value.isalpha() or not any(c.isdigit() for c in value):
        return False
    return _entropy(value) > _KEY_ENTROPY


def _entropy(value: str) -> float:
    """The larger of detect-secrets' two measures: over hexadecimal digits and over base64 characters."""
    module = "high_entropy_strings"
    measures = (_detector(module, "HexHighEntropyString"), _detector(module, "Base64HighEntropyString"))
    return float(max(m.calculate_shannon_entropy(value) for m in measures))


@functools.lru_cache(maxsize=32)
def _detector(module: str, name: str) -> Any:
    import importlib

    return getattr(importlib.import_module(f"detect_secrets.plugins.{module}"), name)()


@functools.lru_cache(maxsize=1)
def _heuristics() -> Any:
    from detect_secrets.filters import heuristic

    return heuristic
