"""Cards, bank accounts, telephone numbers and national identity numbers: all begin with one scan for runs of digits.

Most runs are dates, prices and order numbers; they must cost next to nothing. So each kind asks its cheap questions
(how many digits, how grouped, what stands before) and only then the library that knows the checksum or the plan.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tasks.privacy.gate import NUMBER, first_place
from tasks.privacy.national_ids import national_ids
from tasks.privacy.numbering_plans import POSSIBLE, VALID, end_with_extension, findings_in, level_of
from tasks.privacy.phone import (
    is_plausible,
    looks_written_as_phone,
    names_another_thing,
    says_telephone,
    without_times,
    words_before,
)
from tasks.privacy.recognisers import findings
from tasks.privacy.spans import Span

# Seven digits and more; or, where letters part them: the head of an IBAN, the middle of an Italian fiscal code.
RUN = re.compile(
    r"[0-9](?:(?:[ ().\-/\[\]]{0,4}[0-9]){6,}"
    r"|([0-9](?:(?<=[A-Za-z]{2}[0-9]{2})(?:[ -]?[A-Za-z0-9]){11}|[A-Za-z][0-9]{2}[A-Za-z][0-9]{3}[A-Za-z])))"
)
NUMBERS = frozenset(("CREDIT_CARD", "IBAN_CODE", "PHONE_NUMBER", "NATIONAL_ID"))
_NOT_DIGIT = re.compile(r"[^0-9]+")
_GROUP = re.compile(r"[+(]?[0-9]+")
_DECIMAL = re.compile(r"[0-9]{1,3}\.[0-9]{4,}")  # no numbering plan parts a number so
_ISBN = re.compile(r"97[89][- ](?:[0-9]+[- ]){3}[0-9]")
_FIRST_GROUP = re.compile(r"[0-9]+[^0-9]*")
_EXTENSION_SIGN = re.compile(r"(?:ext|x)\.? ?[0-9]", re.IGNORECASE)
_LEAD = re.compile(r"[+(\[](?:[(\[] ?)?$")
_MIN_SCORE = 0.15
_CARD_DIGITS = range(12, 20)
_CARD_GROUPS = {(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3), (4, 4, 4, 1), (16,), (15,), (14,), (13,), (19,)}
_SAYS_CARD = re.compile(r"\b(?:card|karte|carte|visa|amex|master ?card|maestro|credit|debit|cc\b|pan\b)", re.IGNORECASE)
_IBAN_HEAD = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}")
_IBAN_BODY = re.compile(r"(?:[ -]{0,2}[A-Za-z0-9]){11,30}")
_IBAN_HEAD_REACH = 12  # a bank code of letters may stand between the head and the first long run of digits
_IBAN_LENGTHS = range(15, 35)
_TABLE_CHARACTERS = 400  # so many digits without a word or a sign are a table of figures
_PHONE_DIGITS = range(7, 19)


class Run(NamedTuple):
    """text[start:end] is a run of `digits`, with separators between them."""

    text: str
    start: int
    end: int
    digits: str
    before: str
    lettered: bool

    @property
    def written(self) -> str:
        return self.text[self.start : self.end]


def numbers(text: str, before: str, entities: frozenset[str], regions: tuple[str, ...]) -> Iterator[Span]:
    """Every number of the wanted entities, overlapping ones included."""
    looks = [look for entity, look in _LOOKS if entity in entities]
    phones = "PHONE_NUMBER" in entities
    for found in _runs(text):
        start, end = found.span()
        run = Run(text, start, end, _NOT_DIGIT.sub("", found.group()), before, found.lastindex is not None)
        for look in looks:
            yield from look(run)
        if phones and not run.lettered and not _is_grouped_as_card(run):
            yield from _phones(run, regions)


def _runs(text: str) -> Iterator[re.Match[str]]:
    """Every run; in ASCII, where a byte is a character, the fast scan leads from one to the next."""
    if not text.isascii():
        yield from RUN.finditer(text)
        return
    near = first_place(NUMBER)
    shown = text.encode()
    at = near(shown, 0)
    while at >= 0 and (found := RUN.search(text, at)):
        yield found
        at = near(shown, found.end())


def _cards(run: Run) -> Iterator[Span]:
    if run.lettered or len(run.digits) < _CARD_DIGITS.start:
        return
    left = words_before(run.text, run.start, run.before)
    if names_another_thing(left) and not _SAYS_CARD.search(left):
        return
    groups = tuple(len(group) for group in _NOT_DIGIT.split(run.written))
    if groups in _CARD_GROUPS:  # whatever stands between the groups
        for start, end, score in findings("CREDIT_CARD", run.digits):
            if (start, end) == (0, len(run.digits)) and not _continues(run.text, run.end):
                yield Span(run.start, run.end, "CREDIT_CARD", score)
                return
    first = max(0, run.start - 1)
    for start, end, score in findings("CREDIT_CARD", run.text[first : run.end + 1]):
        yield Span(start + first, end + first, "CREDIT_CARD", score)


def _is_grouped_as_card(run: Run) -> bool:
    """Four groups as on a card, whatever their check digit says: no telephone number is written so."""
    if len(run.digits) <= _CARD_DIGITS.start or run.text[run.start - 1 : run.start] == "+":
        return False
    groups = tuple(len(group) for group in _NOT_DIGIT.split(run.written))
    return len(groups) > 1 and groups in _CARD_GROUPS


def _continues(text: str, end: int) -> bool:
    return text[end : end + 1].isalnum() or text[end : end + 1] == "_"


def _ibans(run: Run) -> Iterator[Span]:
    text = run.text
    for head in _IBAN_HEAD.finditer(text, max(0, run.start - _IBAN_HEAD_REACH), run.end):
        body = _IBAN_BODY.match(text, head.end())
        if body is None:
            continue
        yield from _iban_from(text, head.start(), body.end())


def _iban_from(text: str, start: int, end: int) -> Iterator[Span]:
    """The account number that starts there: its length is the one at which the check digits are right."""
    places = [i for i in range(start, end) if text[i].isalnum()]
    written = "".join(text[i] for i in places).upper()
    for length in reversed(_right_lengths(written)):
        last = places[length - 1] + 1
        if length < len(written) and places[length] == last:
            continue
        for _, found_end, score in findings("IBAN_CODE", written[:length]):
            if found_end == length:
                yield Span(start, last, "IBAN_CODE", score)
                return


def _right_lengths(written: str) -> list[int]:
    """The lengths at which the number modulo 97 is 1, as the check digits demand."""
    head = int("".join(str(int(c, 36)) for c in written[:4]))
    shift = 10 ** len(str(head))
    rest, lengths = 0, []
    for length, character in enumerate(written[4:], start=5):
        value = int(character, 36)
        rest = (rest * (100 if value > 9 else 10) + value) % 97
        if length in _IBAN_LENGTHS and (rest * shift + head) % 97 == 1:
            lengths.append(length)
    return lengths


def _phones(run: Run, regions: tuple[str, ...]) -> Iterator[Span]:
    text, before = run.text, run.before
    start, end = _without_glued_groups(run)
    written = text[start:end]
    digits = _NOT_DIGIT.sub("", written)
    if len(digits) < _PHONE_DIGITS.start or _DECIMAL.fullmatch(written) or _ISBN.fullmatch(written):
        return
    single = written.lstrip("+").isdigit()
    if len(digits) in _PHONE_DIGITS:
        if is_plausible(text, start, end, valid=True, before=before):
            level = level_of(written, digits, regions)
            if level == VALID or (level and is_plausible(text, start, end, valid=False, before=before)):
                yield Span(start, end_with_extension(text, end), "PHONE_NUMBER", level)
                return
        elif single:
            return
    if not single:
        yield from _phones_inside(text, start, end, before, regions)


def _without_glued_groups(run: Run) -> tuple[int, int]:
    """Where the run starts and ends, `+` or a bracket included, and groups left out that letters stand next to."""
    text, start, end = run.text, run.start, run.end
    lead = _LEAD.search(text, max(0, start - 3), start)
    if lead:
        start = lead.start()
    elif text[start - 1 : start].isalpha():
        first = _FIRST_GROUP.match(text, start, end)
        start = first.end() if first else end
    if text[end : end + 1].isalpha() and not _EXTENSION_SIGN.match(text, end):
        while end > start and text[end - 1].isdigit():
            end -= 1
        while end > start and not text[end - 1].isdigit():
            end -= 1
    return start, end


def _phones_inside(text: str, start: int, end: int, before: str, regions: tuple[str, ...]) -> Iterator[Span]:
    """Numbers in a run that holds more than one, e.g. a number after a date."""
    sizes = [len(group) for group in _NOT_DIGIT.split(text[start:end].strip("+()[] "))]
    if sum(sizes) - min(sizes[0], sizes[-1]) < _PHONE_DIGITS.start:
        return  # no part of it is long enough
    announced = says_telephone(words_before(text, start, before))
    if end - start > _TABLE_CHARACTERS:
        if not announced and text[start] != "+":
            return
        end = start + _TABLE_CHARACTERS
    rest = without_times(text[start:end])
    if not announced and not any(looks_written_as_phone(piece) for piece in _pieces(rest)):
        return
    levels = (VALID, POSSIBLE) if announced or "+" in rest else (VALID,)
    found: dict[tuple[int, int], float] = {}
    for level in reversed(levels):
        found.update({(a, b): score for a, b, score in findings_in(text[start:end], level, regions)})
    for (first, last), level in found.items():
        if is_plausible(text, start + first, start + last, valid=level == VALID, before=before):
            yield Span(start + first, start + last, "PHONE_NUMBER", level)


def _pieces(run: str) -> Iterator[str]:
    """What remains of the run from each group of digits on, if it is long enough for a telephone number."""
    left = sum(map(str.isdigit, run))
    for group in _GROUP.finditer(run):
        if left < _PHONE_DIGITS.start:
            return
        yield run[group.start() :]
        left -= len(group.group().lstrip("+("))


def _national(run: Run) -> Iterator[Span]:
    for start, end, score in national_ids(run.text, run.start, run.end, run.digits, run.before):
        yield Span(start, end, "NATIONAL_ID", max(score, _MIN_SCORE))


_LOOKS: tuple[tuple[str, Callable[[Run], Iterator[Span]]], ...] = (
    ("CREDIT_CARD", _cards),
    ("IBAN_CODE", _ibans),
    ("NATIONAL_ID", _national),
)
