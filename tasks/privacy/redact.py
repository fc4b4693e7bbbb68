"""Finds personal data and replaces it by `<ENTITY>`, before anything is written.

A compiled scan looks for what could be personal data at all; only such texts reach Presidio's recognisers, which are
loaded then and not before. In a text that is JSON only the strings are looked at, so that numbers stay numbers.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from tasks.privacy.phone import is_plausible
from tasks.privacy.recognisers import ENTITIES, recogniser
from tasks.privacy.visible import as_seen

_MIN_SCORE = 0.15  # Presidio gives the unspecified IPv6 address `::` 0.1
_KNOWN_PHONE = 0.3  # a number that a numbering plan knows has 0.4, one of a possible length 0.2
_ADDRESS_REACH = 320  # the longest e-mail address has 254 characters
_CANDIDATE = {
    "EMAIL_ADDRESS": re.compile("@"),
    "PHONE_NUMBER": re.compile(r"\d(?:[\s().\-/+]{0,4}\d){6}"),
    "CREDIT_CARD": re.compile(r"\d(?:[ -]?\d){11}"),
    "IBAN_CODE": re.compile(r"[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11}"),
    "IP_ADDRESS": re.compile(r"\d{1,3}(?:\.\d{1,3}){3}|::|(?:[0-9A-Fa-f]{1,4}:){4}"),
}
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_KEY_REACH = 40


class Span(NamedTuple):
    """One finding: text[start:end] is an `entity`; `score` is 0..1 as Presidio gives it."""

    start: int
    end: int
    entity: str
    score: float


class Redactor:
    """Finds and replaces the entities it was made for; cheap to make, safe to share between threads.

    Args:
        entities: names from `tasks.privacy.recognisers.ENTITIES`.
        phone_regions: two-letter codes of the countries whose national phone numbers are recognised.
    """

    def __init__(self, entities: tuple[str, ...] = ENTITIES, phone_regions: tuple[str, ...] = ("US", "GB")) -> None:
        unknown = set(entities) - set(ENTITIES)
        if unknown:
            raise ValueError(f"unknown entities {sorted(unknown)}; known are {list(ENTITIES)}")
        self.entities = tuple(entities)
        self.phone_regions = tuple(r.upper() for r in phone_regions)

    def redact(self, text: str, before: str = "", *, keep_numbers: bool = True) -> tuple[str, dict[str, int]]:
        """The text with every finding replaced, and how many of each entity were replaced.

        Looks again until nothing is found, since a replacement can part what had been taken for one number; each
        replacement takes away digits or an @, so this ends.
        """
        counts: Counter[str] = Counter()
        while spans := self.find(text, before, keep_numbers=keep_numbers):
            for span in reversed(spans):
                text = f"{text[: span.start]}<{span.entity}>{text[span.end :]}"
                counts[span.entity] += 1
        return text, dict(counts)

    def find(self, text: str, before: str = "", *, keep_numbers: bool = True) -> list[Span]:
        """Findings from left to right, without overlaps.

        Args:
            before: what stands before the text, e.g. the name of the field it comes from; only read as context.
            keep_numbers: whether a text that is JSON is searched in its strings only.
        """
        if not text or not self._is_candidate(text):
            return []
        strings = _json_strings(text) if keep_numbers else None
        if strings is None:
            return self._find_plain(text, before)
        return [span for start, end in strings for span in self._find_in_string(text, start, end)]

    def _is_candidate(self, text: str) -> bool:
        if "\\u" in text:
            return True
        seen, _ = as_seen(text)
        return any(_CANDIDATE[entity].search(seen) for entity in self.entities)

    def _find_in_string(self, text: str, start: int, end: int) -> list[Span]:
        """Findings in one JSON string (quotes at both ends); one with escapes is judged decoded, and as a whole."""
        inner = text[start + 1 : end - 1]
        before = text[max(0, start - _KEY_REACH) : start]
        if "\\" not in inner:
            return [
                s._replace(start=s.start + start + 1, end=s.end + start + 1) for s in self._find_plain(inner, before)
            ]
        found = self._find_plain(_unescaped(inner), before)
        direct = self._find_plain(inner, before)
        if len(direct) == len(found):
            return [s._replace(start=s.start + start + 1, end=s.end + start + 1) for s in direct]
        return [Span(start + 1, end - 1, found[0].entity, found[0].score)] if found else []

    def _find_plain(self, text: str, before: str) -> list[Span]:
        seen, positions = as_seen(text)
        found = [
            s for entity in self.entities if _CANDIDATE[entity].search(seen) for s in self._of(entity, seen, before)
        ]
        spans = _without_overlaps(found)
        if positions is None:
            return spans
        return [s._replace(start=positions[s.start], end=positions[s.end - 1] + 1) for s in spans]

    def _of(self, entity: str, text: str, before: str) -> Iterator[Span]:
        look = recogniser(entity, self.phone_regions)
        if entity == "EMAIL_ADDRESS":
            for offset, word in _words_with_at(text):
                yield from (Span(s + offset, e + offset, entity, score) for s, e, score in look(word))
            return
        # An IBAN is as much one in lower case; the recogniser reads capitals only.
        scanned = text.upper() if entity == "IBAN_CODE" and len(text.upper()) == len(text) else text
        for start, end, score in look(scanned):
            if score >= _MIN_SCORE and _is_accepted(entity, text, start, end, score, before):
                yield Span(start, end, entity, score)


def _is_accepted(entity: str, text: str, start: int, end: int, score: float, before: str) -> bool:
    if entity == "PHONE_NUMBER":
        return is_plausible(text, start, end, valid=score > _KNOWN_PHONE, before=before)
    if entity == "IP_ADDRESS":
        found = text[start:end]
        return "." in found or (found.count(":") >= 2 and any(c.isdigit() for c in found))
    return True


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


def _without_overlaps(spans: list[Span]) -> list[Span]:
    """Of overlapping findings the one with the higher score stays, at equal scores the longer one."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda s: (-s.score, s.start - s.end, s.start)):
        if all(span.end <= other.start or span.start >= other.end for other in kept):
            kept.append(span)
    return sorted(kept)


def _json_strings(text: str) -> list[tuple[int, int]] | None:
    """Where the strings of a JSON object or array are, quotes included; None for any other text."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return None
    return [m.span() for m in _JSON_STRING.finditer(text)]


def _unescaped(inner: str) -> str:
    return str(json.loads(f'"{inner}"', strict=False))
