"""A small probe of general knowledge: does a tuned model still know what its base knows?

The questions lie beside this module in retention.json. They are asked without system message and without examples.
With two dozen questions one answer weighs about four percentage points: a probe for large losses, not a benchmark.
"""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

from tasks.contracts import Message, Record

_FILE = Path(__file__).with_name("retention.json")
MAX_NEW_TOKENS = 40


class Probe(Record):
    """A question with the texts of which an answer has to contain one."""

    question: str
    accept: tuple[str, ...]

    @property
    def prompt(self) -> tuple[Message, ...]:
        return (Message(role="user", content=self.question),)


def load_probes() -> tuple[Probe, ...]:
    """All questions of the probe."""
    return tuple(Probe.model_validate(entry) for entry in json.loads(_FILE.read_text(encoding="utf-8")))


def is_right(answer: str, probe: Probe) -> bool:
    """Whether one of the accepted texts stands in the answer as words of its own: `4` is not in `40`, `4.5` or `x4`."""
    text = _normal(answer)
    return any(re.search(rf"(?<!\w)(?<!\d[.,]){re.escape(_normal(a))}(?!\w|[.,]\d)", text) for a in probe.accept)


def _normal(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
