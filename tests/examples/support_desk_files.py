"""Reads the support desk's files without Tuneloop's own readers: what the manifest says is checked independently."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "support_desk"
MANIFEST: dict[str, Any] = json.loads((EXAMPLE / "manifest.json").read_text(encoding="utf-8"))
DEFECTS: list[dict[str, Any]] = MANIFEST["defects"]
HELD_OUT = "data/heldout.jsonl"
_SECTION = re.compile(r"> (?P<prompt>.+?)\n\n```json\n(?P<answer>.+?)\n```", re.DOTALL)


class Place(NamedTuple):
    """A record as the manifest names it."""

    file: str
    record: int


class Pair(NamedTuple):
    """Message and answer of a record; None where the record has none."""

    prompt: str | None
    answer: str | None


def place(entry: dict[str, Any]) -> Place:
    return Place(entry["file"], entry["record"])


def raw_records(file: str) -> list[Any]:
    """The records of a file: bytes of a line, a CSV row, an element of an array, a section's text, a document."""
    path = EXAMPLE / file
    if path.suffix == ".jsonl":
        return list(path.read_bytes().splitlines())
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return list(json.loads(text))
    return re.split(r"^## ", text, flags=re.MULTILINE)[1:] if path.suffix == ".md" else [text]


def pair(record: Any) -> Pair | None:
    """Message and answer of a raw record, None where it is not readable at all."""
    if isinstance(record, bytes):
        try:
            record = json.loads(record.decode("utf-8"))
        except ValueError:
            return None
    if isinstance(record, str):
        found = _SECTION.search(record)
        return Pair(found["prompt"], found["answer"]) if found else Pair(None, None)
    if "prompt" in record:
        return Pair(record["prompt"], record.get("completion"))
    turns = [t.get("content", t.get("value")) for t in record.get("messages", record.get("conversations", []))]
    return Pair(turns[0] if turns else None, turns[1] if len(turns) > 1 else None)


def all_pairs() -> dict[Place, Pair | None]:
    return {Place(file, i): pair(r) for file in MANIFEST["files"] for i, r in enumerate(raw_records(file))}


def good_places() -> Iterator[Place]:
    """Records that have to be kept: everything but the merged and quarantined defects."""
    bad = {place(d) for d in DEFECTS if d["outcome"] != "kept"}
    for file, counts in MANIFEST["files"].items():
        yield from (p for p in (Place(file, i) for i in range(counts["records"])) if p not in bad)


def shingles(text: str) -> set[str]:
    """Five-character shingles of the lower-cased text."""
    text = text.lower()
    return {text[i : i + 5] for i in range(max(1, len(text) - 4))}


def jaccard(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)
