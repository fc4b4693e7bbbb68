"""Which lines of a log can be given to somebody else: what a program wrote about itself, never what data says. Pure.

A search for personal data finds names and numbers, not a customer's complaint. So lines are let through by what they
are (places in code, types of exceptions, texts of known libraries) and searched besides; the others are only counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from tasks.train.failure_signs import signs_in

_FRAME = re.compile(r"^\s+File \"(?P<path>[^\"]+)\", line \d+, in [\w<>.]+$")
_CODE = re.compile(r"^\s{4,}\S")
_HEADING = re.compile(
    r"^(Traceback \(most recent call last\):|During handling of the above exception, another exception occurred:"
    r"|The above exception was the direct cause of the following exception:)$"
)
_TYPE = re.compile(
    r"^(?P<type>(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Failed|Refused|Unusable))\b"
)
_WARNING = re.compile(r"^(?P<place>\S+\.py:\d+: \w*Warning)\b")
_OURS = re.compile(r"^(?:TL-[A-Z0-9-]+: .*|checkpoint step-\d+.* was not used: .*)$")
_PREFECT = re.compile(r"^(?:Beginning (?:sub)?flow run|Created (?:task|flow) run|Executing|Finished in state [\w']+)")


def safe_lines(lines: Iterable[str], clean: Callable[[str], str]) -> list[str]:
    """The lines that can be given away, in order; how many were left out between them.

    Args:
        clean: takes personal data and secrets out of a line that is let through.
    """
    found: list[str] = []
    skipped, in_frame = 0, False
    for line in lines:
        kept = _code_of(line) if in_frame else None
        in_frame = bool(_FRAME.match(line))
        kept = kept or _kept(line)
        if kept is None:
            skipped += 1
            continue
        found += [*_left_out(skipped), clean(kept)]
        skipped = 0
    return [*found, *_left_out(skipped)]


def _kept(line: str) -> str | None:
    """What of a line can be given away; None: nothing."""
    if _FRAME.match(line) or _HEADING.match(line) or _OURS.match(line):
        return line
    known = ", ".join(sign.why for sign in signs_in(line))
    for pattern in (_TYPE, _WARNING, _PREFECT):
        if match := pattern.match(line):
            return f"{match[0]}: {known}" if known else match[0]
    return known or None


def _code_of(line: str) -> str | None:
    """The line of code that a traceback shows below a place: written by a programmer."""
    return line if _CODE.match(line) and not _FRAME.match(line) else None


def _left_out(count: int) -> Iterator[str]:
    if count:
        yield f"[{count} lines left out: free text can hold what data says]"
