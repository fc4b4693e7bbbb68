"""What is measured of each row: a line of numbers, so that the rules need no text.

One line takes about 150 bytes; the lines of all kept rows are the only thing that grows with the corpus here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Literal

import numpy as np

from tasks.chat_template import uses_tools
from tasks.contracts import Message, Row
from tasks.placeholders import PLACEHOLDER
from tasks.validate.completeness import is_cut, is_unfinished
from tasks.validate.config import ChecksConfig
from tasks.validate.language import UNKNOWN, detect_language, obscene_words, toxicity
from tasks.validate.lengths import CountTokens
from tasks.validate.score import quality

Family = Literal["chat", "pair", "preference", "document"]
FAMILIES: tuple[Family, ...] = ("chat", "pair", "preference", "document")
MEASURES = np.dtype(
    [
        ("source", "i8"), ("record", "i8"), ("prompt_hash", "i8"), ("answer_hash", "i8"),
        ("tokens", "i4"), ("prompt_chars", "i4"), ("answer_chars", "i4"), ("rejected_chars", "i4"), ("turns", "i4"),
        ("encoding_damage", "i4"), ("label_chars", "i4"),
        ("placeholder_share", "f8"), ("repeated_share", "f8"), ("distinct_words_share", "f8"), ("letters_share", "f8"),
        ("toxicity", "f8"), ("language_confidence", "f8"), ("length_ratio", "f8"),
        ("family", "u1"), ("role_order_ok", "?"), ("template_ok", "?"), ("tools_ok", "?"), ("tools_defined", "?"),
        ("answer_is_new", "?"), ("pair_differs", "?"), ("cut_answer", "?"), ("unfinished_answer", "?"),
        ("tools_written", "?"), ("language_ok", "?"), ("quality", "u1"), ("language", "S3"),
    ]
)  # fmt: skip
_NAMES = MEASURES.names or ()

_DAMAGE = re.compile("\ufffd|\u00c3[\u0080-\u00bf]|\u00e2\u20ac[\u2122\u0153\u009d\u2013\u201c]")
_ROLES = re.compile(r"s?(?:u(?:ct+)*a)+")
_NO_SIGNS = str.maketrans(dict.fromkeys('!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~', " "))
_NGRAM = 3
_VARIETY_WINDOW = 100
_LETTERS_CHARS = 200
_LABEL_CHARS = 32
_LABEL_WORDS = 3
_LANGUAGE_CHARS = 200  # of the question and of the answer
_LANGUAGE_SAMPLE = 16  # without a limit on languages, one row in so many is looked at, for the report


def family(row: Row) -> Family:
    """Which rules of shape a row is held to."""
    if row.rejected or row.shape.startswith("preference"):
        return "preference"
    if row.shape in ("sections", "document"):
        return "document"
    turns = [m.role for m in row.messages if m.role != "system"]
    return "chat" if row.tools or len(turns) > 2 or row.shape == "chat" else "pair"


def measure(rows: Sequence[Row], checks: ChecksConfig, count: CountTokens, writes_tools: bool = False) -> Any:
    """Array of MEASURES, one line for each row, in order.

    Args:
        writes_tools: whether the model's template writes tools, so that rows with tools can be learned.
    """
    numbers = np.zeros(len(rows), dtype=MEASURES)
    obscene = obscene_words(checks.languages) if checks.max_toxicity < 1 else frozenset()
    for index, row in enumerate(rows):
        fine = has_role_order(row)
        written = writes_tools or not uses_tools(row.messages, row.tools)
        length = _length(row, count, written) if fine else 0
        values = _text_measures(row, obscene) | _shape_measures(row) | _language(row, index, checks)
        values |= {
            "tools_written": written,
            "tokens": length or 0,
            "template_ok": length is not None,
            "role_order_ok": fine,
            "quality": 0,
        }
        numbers[index] = tuple(values[name] for name in _NAMES)
    numbers["quality"] = quality(numbers)
    return numbers


def has_role_order(row: Row) -> bool:
    """Turns alternate from user to assistant; an assistant that calls tools speaks again after their answers."""
    return _ROLES.fullmatch("".join(_turn(m) for m in row.messages)) is not None


def _length(row: Row, count: CountTokens, written: bool) -> int | None:
    """Tokens of a row; of one whose tools no model would see, those of the other turns."""
    if written:
        return count(row.messages, row.tools)
    return count(tuple(m for m in row.messages if m.role != "tool" and not m.tool_calls), "")


def _turn(message: Message) -> str:
    return "c" if message.role == "assistant" and message.tool_calls else message.role[0]


def _text_measures(row: Row, obscene: frozenset[str]) -> dict[str, Any]:
    texts = [m.content for m in row.messages]
    whole = "\n".join(texts)
    words = [_words(text) for text in texts]
    answer = words[-1] if row.answer else []
    total = sum(map(len, words))
    repeats, triples = map(sum, zip(*map(_repeats, words), strict=True)) if words else (0, 0)
    window = answer[:_VARIETY_WINDOW]
    return {
        "encoding_damage": 0 if whole.isascii() else len(_DAMAGE.findall(whole)),
        "placeholder_share": len(PLACEHOLDER.findall(whole)) / max(1, total) if "<" in whole else 0.0,
        "repeated_share": repeats / triples if triples else 0.0,
        "distinct_words_share": len(set(window)) / len(window) if window else 0.0,
        "letters_share": _letters_share(row.answer) if family(row) == "document" else 1.0,
        "toxicity": toxicity(answer, obscene),
        "cut_answer": is_cut(row.answer),
        "unfinished_answer": is_unfinished(row.answer),
    }


def _letters_share(answer: str) -> float:
    """Letters among the first characters of an answer that are not blank; tables of contents have few."""
    seen = answer[:_LETTERS_CHARS]
    return sum(map(str.isalpha, seen)) / max(1, len(seen) - sum(map(str.isspace, seen)))


def _words(text: str) -> list[str]:
    return text.lower().translate(_NO_SIGNS).split()


def _repeats(words: Sequence[str]) -> tuple[int, int]:
    """How many word triples occurred before in this text, and how many there are."""
    triples = len(words) - _NGRAM + 1
    if triples <= 0:
        return 0, 0
    return triples - len(set(zip(words, words[1:], words[2:], strict=False))), triples


def _shape_measures(row: Row) -> dict[str, Any]:
    question = next((m.content for m in reversed(row.prompt) if m.role == "user"), "")
    prompt = "\n".join(m.content for m in row.prompt if m.role != "system")
    answer, rejected = row.answer.strip(), row.rejected.strip()
    label = len(answer) <= _LABEL_CHARS and len(answer.split()) <= _LABEL_WORDS
    source, record = row.row_id.split(":", 1)
    return {
        "source": int.from_bytes(bytes.fromhex(source[:16]), "big", signed=True),
        "record": int(record),
        "prompt_hash": text_hash(prompt),
        "answer_hash": text_hash(answer),
        "prompt_chars": len(prompt.strip()),
        "answer_chars": len(answer),
        "rejected_chars": len(rejected),
        "label_chars": len(answer) if label or row.shape == "classification" else 0,
        "turns": sum(m.role == "user" for m in row.messages),
        "family": FAMILIES.index(family(row)),
        "answer_is_new": not answer or answer.casefold() != question.strip().casefold(),
        "pair_differs": not rejected or rejected.casefold() != answer.casefold(),
        "length_ratio": max(len(answer), len(rejected)) / max(1, min(len(answer), len(rejected))) if rejected else 1.0,
        **_tool_measures(row),
    }


def text_hash(text: str) -> int:
    """Equal for texts that differ in case only."""
    data = text.casefold().encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big", signed=True)


def _tool_measures(row: Row) -> dict[str, bool]:
    """Whether each tool's turn answers a call and arguments are JSON objects, and whether called tools are defined."""
    calls = [call for m in row.messages for call in m.tool_calls]
    answers = [m.tool_call_id for m in row.messages if m.role == "tool" and m.tool_call_id]
    if not calls and not answers:
        return {"tools_ok": True, "tools_defined": True}
    made = {call.id for call in calls}
    return {
        "tools_ok": all(a in made for a in answers) and all(_is_object(call.arguments) for call in calls),
        "tools_defined": not row.tools or {call.name for call in calls} <= _defined(row.tools),
    }


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text or "{}"), dict)
    except (ValueError, RecursionError):
        return False


def _defined(tools: str) -> set[str]:
    try:
        listed = json.loads(tools)
    except (ValueError, RecursionError):
        return set()
    entries = [t.get("function", t) for t in listed if isinstance(t, dict)] if isinstance(listed, list) else []
    return {str(e.get("name")) for e in entries if isinstance(e, dict)}


def _language(row: Row, index: int, checks: ChecksConfig) -> dict[str, Any]:
    if not checks.languages and index % _LANGUAGE_SAMPLE:
        return {"language": b"", "language_confidence": 0.0, "language_ok": True}
    question = next((m.content for m in reversed(row.prompt) if m.role == "user"), "")
    text = f"{PLACEHOLDER.sub('', question[:_LANGUAGE_CHARS])}\n{PLACEHOLDER.sub('', row.answer[:_LANGUAGE_CHARS])}"
    code, confidence = detect_language(text)
    fine = not checks.languages or code == UNKNOWN or code in checks.languages
    return {"language": code.encode(), "language_confidence": confidence, "language_ok": fine}
