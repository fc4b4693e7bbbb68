"""Whether an answer was cut off: surely (something opened is never closed), or by the look of its last words."""

from __future__ import annotations

import json
import re

_FENCE = re.compile(r"^[ \t]*(```|~~~)", re.MULTILINE)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*("?)', re.DOTALL)  # always matches at a quote: nothing is tried twice
_SENTENCE_END = re.compile(r"[.!?…]\s|[。！？।؟]")
_GOES_ON = (",", ";", "(", "[", "{", "–", "—", "&", "=")
_LIST_LINE = re.compile(r"^\s*(?:[-*+•|>#]|\d+[.)]|[A-Za-z][.)])\s")
_LINKING = frozenset(
    re.findall(
        r"\w+",
        "a an the and or but of to in on at for with from by that which because if is are was were your our their my "
        "der die das und oder aber von zu mit für ein eine dass le la les et ou mais de des un une que el los las y o",
    )
)
_FEWEST_WORDS = 5


def is_cut(answer: str) -> bool:
    """An open code fence, or JSON that ends before it is closed; surely cut."""
    if ("```" in answer or "~~~" in answer) and len(_FENCE.findall(answer)) % 2:
        return True
    text = answer.lstrip()
    if not text.startswith(("{", '["', "[{", "[[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return _is_open(text)
    return False


def _is_open(text: str) -> bool:
    """More brackets open than closed outside of strings, or a string without an end."""
    if any(not string[1] for string in _STRING.finditer(text)):
        return True
    bare = _STRING.sub("", text)
    return bare.count("{") + bare.count("[") > bare.count("}") + bare.count("]")


def is_unfinished(answer: str) -> bool:
    """Prose that stops in the middle of a sentence, by its look.

    Labels, short answers, lists, tables and code have no sentences and are never called unfinished. A text without a
    full stop at its end is unfinished only where its earlier sentences have one.
    """
    text = answer.rstrip()
    last = text[text.rfind("\n") + 1 :]
    if len(last.split(None, _FEWEST_WORDS)) < _FEWEST_WORDS or _LIST_LINE.match(last) or text.endswith("```"):
        return False
    if text.endswith(_GOES_ON):
        return True
    if not text[-1].isalnum():
        return False
    word = last.rsplit(None, 1)[-1]
    if word in _LINKING:
        return True
    if "://" in word or any(c.isdigit() for c in word):
        return False
    return _SENTENCE_END.search(text) is not None
