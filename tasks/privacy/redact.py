"""Finds personal data and replaces it, before anything is written.

One scan for what could be personal data at all comes first; only the stretches around such candidates reach the
recognisers, which are loaded then and not before. In a text that is JSON the strings are judged by what they say and
replaced as they are written, so that it stays JSON; of its numbers only those of cards are replaced, by a string.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from tasks.privacy import gate as gates
from tasks.privacy import json_text
from tasks.privacy.addresses import emails, ip_addresses, url_credentials
from tasks.privacy.config import NAMED_ENTITIES, PATTERN_ENTITIES
from tasks.privacy.names import names_and_addresses
from tasks.privacy.national_ids import insurance_numbers
from tasks.privacy.numbers import NUMBERS, numbers
from tasks.privacy.replacement import replacement, without_hashes, without_placeholders
from tasks.privacy.secret_values import assigned_secrets, keys
from tasks.privacy.spans import Span, without_overlaps
from tasks.privacy.subjects import normal_forms, subject_keys
from tasks.privacy.visible import as_seen

ENTITIES: tuple[str, ...] = PATTERN_ENTITIES
ACTIONS = ("redact", "mask", "pseudonymise", "drop", "report")
_JSON_STARTS = frozenset("{[ \t\r\n")
_KEY_REACH = 40
_NOT_IN_HASHES = (gates.NUMBER, gates.LETTER)  # what these look for, a hash's digits and letters could be taken for

Look = Callable[[str, str], Iterable[Span]]  # text and what stands before it → findings, overlapping ones included


class Cleaned(NamedTuple):
    """A text after its personal data was dealt with.

    Args:
        counts: entity → how many values were replaced.
        subjects: keyed hashes of the identifiers that were found, sorted; empty without a key.
        drop: whether an entity was found whose rows are to be dropped; the text is redacted all the same.
        reported: entity → how many values were found that are only reported.
    """

    text: str
    counts: dict[str, int]
    subjects: tuple[str, ...] = ()
    drop: bool = False
    reported: dict[str, int] = {}  # noqa: RUF012 (a tuple's default, never changed)


class _Value(NamedTuple):
    """A value that was found.

    Args:
        said: what stands at the span, JSON escapes resolved.
        depth: in how many JSON strings within one another it stands.
        is_number: whether it is a JSON number, which cannot hold letters.
    """

    span: Span
    said: str
    depth: int = 0
    is_number: bool = False


class _Seen(NamedTuple):
    """A text as a reader sees it.

    Args:
        positions: where each of its characters was; None where all stayed in their places.
        hits: indices of the looks that can find something in it, ascending.
        has_hash: whether it may hold a hash.
    """

    text: str
    positions: list[int] | None
    hits: list[int]
    has_hash: bool = False


class Redactor:
    """Finds and replaces the entities it was made for; cheap to make, safe to share between threads.

    Args:
        entities: names from `tasks.privacy.config`.
        phone_regions: two-letter codes of the countries whose national phone numbers are recognised.
        actions: entity → redact, mask, pseudonymise, drop or report; redact where not named.
        key: for pseudonyms and subject hashes; without it no subjects are given.
    """

    def __init__(
        self,
        entities: tuple[str, ...] = ENTITIES,
        phone_regions: tuple[str, ...] = ("US", "GB"),
        actions: Mapping[str, str] | None = None,
        key: bytes = b"",
    ) -> None:
        self.entities = tuple(entities)
        self.phone_regions = tuple(r.upper() for r in phone_regions)
        self.actions = {entity: (actions or {}).get(entity, "redact") for entity in self.entities}
        self._key = key
        self._check(actions or {})
        self.looks = _looks(frozenset(self.entities), self.phone_regions)
        self._gate = gates.gate(*(pattern for pattern, _ in self.looks), gates.HASH, gates.HIDDEN)
        self._hash, self._hidden = len(self.looks), len(self.looks) + 1  # indices of the last two patterns
        self._reported = frozenset(e for e, action in self.actions.items() if action == "report")

    def __reduce__(self) -> tuple[type[Redactor], tuple[object, ...]]:
        return Redactor, (self.entities, self.phone_regions, self.actions, self._key)

    def _check(self, actions: Mapping[str, str]) -> None:
        known = (*PATTERN_ENTITIES, *NAMED_ENTITIES)
        if unknown := set(self.entities) - set(known):
            raise ValueError(f"unknown entities {sorted(unknown)}; known are {list(known)}")
        if unknown := set(actions) - set(self.entities):
            raise ValueError(f"actions for entities that are not looked for: {sorted(unknown)}")
        if unknown := set(actions.values()) - set(ACTIONS):
            raise ValueError(f"unknown actions {sorted(unknown)}; known are {list(ACTIONS)}")
        if "pseudonymise" in actions.values() and not self._key:
            raise ValueError("pseudonyms need a key")

    def redact(self, text: str, before: str = "", *, keep_numbers: bool = True) -> tuple[str, dict[str, int]]:
        """The text with every value replaced that is to be, and how many of each entity were replaced."""
        cleaned = self.clean(text, before, keep_numbers=keep_numbers)
        return cleaned.text, cleaned.counts

    def clean(self, text: str, before: str = "", *, keep_numbers: bool = True) -> Cleaned:
        """The text after each entity's action, with what was found.

        Looks again until nothing is left to replace, since a replacement can part what had been taken for one number;
        each replacement takes away digits, an @ or letters, so this ends.
        """
        values = self._values(text, before, keep_numbers=keep_numbers)
        if not values:
            return Cleaned(text, {})
        reported = Counter(v.span.entity for v in values if v.span.entity in self._reported)
        subjects: set[str] = set()
        counts: Counter[str] = Counter()
        while values:
            subjects.update(self._subjects(values))
            values = [value for value in values if value.span.entity not in self._reported]
            if not values:
                break
            text = self._replaced(text, values)
            counts.update(value.span.entity for value in values)
            values = self._values(text, before, keep_numbers=keep_numbers)
        drop = any(self.actions[entity] == "drop" for entity in counts)
        return Cleaned(text, dict(counts), tuple(sorted(subjects)), drop, dict(reported))

    def must_be_gone(self, text: str, before: str = "", *, keep_numbers: bool = True) -> list[str]:
        """The entities still found in a text that was cleaned, those that are only reported left out."""
        found = self.find(text, before, keep_numbers=keep_numbers)
        return [span.entity for span in found if span.entity not in self._reported]

    def find(self, text: str, before: str = "", *, keep_numbers: bool = True) -> list[Span]:
        """Findings from left to right, without overlaps.

        Args:
            before: what stands before the text, e.g. the name of the field it comes from; only read as context.
            keep_numbers: whether a text that is JSON is searched in its strings, and in numbers long enough for a
                card's, only.
        """
        return [value.span for value in self._values(text, before, keep_numbers=keep_numbers)]

    def _values(self, text: str, before: str = "", *, keep_numbers: bool = True) -> list[_Value]:
        if not text or not self.looks:
            return []
        if keep_numbers and text[0] in _JSON_STARTS and text.lstrip()[:1] in ("{", "["):
            may_hold = "\\" in text or (before and _says_secret(before)) or self._seen(text).hits
            parts = json_text.parts(text) if may_hold else []
            if parts is not None:
                return [value for start, end in parts for value in self._values_in_json(text, start, end)]
        spans = self._find_plain(text, before)
        return [_Value(span, text[span.start : span.end]) for span in spans] if spans else []

    def _values_in_json(self, text: str, start: int, end: int) -> Iterator[_Value]:
        """What is found in one string or number of a JSON text, at its place in this text."""
        before = text[max(0, start - _KEY_REACH) : start]
        if text[start] != '"':
            yield from self._card_numbers(text, start, end, before)
            return
        inner, start = text[start + 1 : end - 1], start + 1
        found = self._values(json_text.said(inner), before)
        places = json_text.places(inner) if found else []
        for value in found:
            first, last = start + places[value.span.start], start + places[value.span.end]
            yield value._replace(span=value.span._replace(start=first, end=last), depth=value.depth + 1)

    def _card_numbers(self, text: str, start: int, end: int, before: str) -> Iterator[_Value]:
        digits = text[start:end]
        wanted = frozenset(self.entities) & {"CREDIT_CARD"}
        for span in numbers(digits, before, wanted, ()):
            if (span.start, span.end) == (0, len(digits)):
                yield _Value(_moved(span, start), digits, is_number=True)

    def _replaced(self, text: str, values: list[_Value]) -> str:
        parts: list[str] = []
        done = 0
        for value in values:
            new = self._replacement(value.span.entity, value.said)
            new = json.dumps(new, ensure_ascii=False) if value.is_number else new
            parts += (text[done : value.span.start], json_text.written(new, value.depth))
            done = value.span.end
        return "".join((*parts, text[done:]))

    def _replacement(self, entity: str, value: str) -> str:
        action = self.actions[entity]
        seen = as_seen(value)[0]
        normal = normal_forms(entity, seen, self.phone_regions)[0] if action == "pseudonymise" else ""
        return replacement(entity, seen, normal, action, self._key)

    def _subjects(self, values: list[_Value]) -> Iterator[str]:
        if not self._key:
            return
        for value in values:
            yield from subject_keys(value.span.entity, as_seen(value.said)[0], self.phone_regions, self._key)

    def _find_plain(self, text: str, before: str) -> list[Span]:
        seen, positions, hits, has_hash = self._seen(text)
        if before and "SECRET" in self.entities and _says_secret(before):
            hits = sorted({*hits, next(i for i, (_, look) in enumerate(self.looks) if look is assigned_secrets)})
        if not hits:
            return []
        seen = without_placeholders(seen)
        bare = without_hashes(seen) if has_hash else seen
        found: list[Span] = []
        for pattern, look in (self.looks[index] for index in hits):
            found.extend(look(bare if pattern in _NOT_IN_HASHES else seen, before))
        spans = without_overlaps(found, self._reported)
        if positions is None:
            return spans
        return [s._replace(start=positions[s.start], end=positions[s.end - 1] + 1) for s in spans]

    def _seen(self, text: str) -> _Seen:
        hits = self._gate(text.encode()) if text.isascii() else [self._hidden]
        if not hits:
            return _Seen(text, None, hits)
        positions = None
        if hits[-1] == self._hidden:
            text, positions = as_seen(text)
            hits = self._gate(text.encode("utf-8", "replace"))
        return _Seen(text, positions, [index for index in hits if index < self._hash], self._hash in hits)


def _says_secret(before: str) -> bool:
    return bool(gates.gate(gates.SAYS_SECRET)(before.encode("utf-8", "replace")))


def _looks(entities: frozenset[str], regions: tuple[str, ...]) -> tuple[tuple[str, Look], ...]:
    """The looks that the entities need, each with the pattern of its gate."""
    made: list[tuple[str, Look]] = []
    if "EMAIL_ADDRESS" in entities:
        made.append((gates.EMAIL, lambda text, _before: emails(text)))
    if entities & NUMBERS:
        made.append((gates.NUMBER, lambda text, before: numbers(text, before, entities, regions)))
    if "NATIONAL_ID" in entities:
        made.append((gates.INSURANCE, lambda text, _before: _as_national(text)))
    if "IP_ADDRESS" in entities:
        made.append((gates.IP, lambda text, _before: ip_addresses(text)))
    if "URL_CREDENTIALS" in entities:
        made.append((gates.URL, lambda text, _before: url_credentials(text)))
    if "SECRET" in entities:
        made.append((gates.KEY_MARK, lambda text, _before: keys(text)))
        made.append((gates.SECRET_WORD, assigned_secrets))
    if named := entities & set(NAMED_ENTITIES):
        made.append((gates.LETTER, lambda text, _before: names_and_addresses(text, frozenset(named))))
    return tuple(made)


def _as_national(text: str) -> Iterator[Span]:
    return (Span(start, end, "NATIONAL_ID", score) for start, end, score in insurance_numbers(text))


def _moved(span: Span, by: int) -> Span:
    return span._replace(start=span.start + by, end=span.end + by)
