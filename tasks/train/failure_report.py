"""Trainer side: what an exception says about what went wrong, without a value of any row. Pure.

Texts of exceptions can hold what a row says; so only what is known to come from a library or the system is passed on.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from pydantic import ValidationError

from tasks.contracts import Row
from tasks.errors import TuneloopError
from tasks.train.failure_signs import sign_of_number, signs_in
from tasks.train.failures import CRASH, DATA, Failure, failure, of_text


def failure_of(error: BaseException) -> Failure:
    """The failure that an exception of the trainer means; its causes are looked at too."""
    if isinstance(error, TuneloopError):
        return Failure(
            code=error.code, text=error.what, remedy=error.remedy, where=error.where, why=error.why
        )  # fmt: skip
    found = [f for e in _chain(error) if (f := _known(e)) is not None]
    return found[0] if found else failure(CRASH, where=_place(error), why=_type_name(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and what led to it, the root first: a lost connection is often the consequence."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    yield from reversed(chain)


def _known(error: BaseException) -> Failure | None:
    if isinstance(error, ValidationError):
        if error.title != Row.__name__:
            return failure(CRASH, where=_validated(error), why="a record is not of the form that it has")
        return failure(DATA, where=_validated(error), why="a row is not of the form that rows have")
    if isinstance(error, MemoryError):
        return of_text("MemoryError")
    if isinstance(error, OSError) and (sign := sign_of_number(error.errno)):
        return failure(sign.code, where=str(error.filename or sign.where), why=f"{sign.why}: {error.strerror}")
    if isinstance(error, FileNotFoundError):
        return failure(DATA, where=str(error.filename or ""), why="there is no such file") if _is_rows(error) else None
    return of_text(f"{_type_name(error)}: {error}")


def _is_rows(error: FileNotFoundError) -> bool:
    return str(error.filename or "").endswith(".jsonl")


def _validated(error: ValidationError) -> str:
    """Record and fields that were wrong; never the values."""
    found = error.errors(include_input=False, include_context=False)
    fields = sorted({".".join(str(part) for part in each["loc"]) or "the whole line" for each in found})
    return f"{error.title}: {', '.join(fields[:3])}"


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def safe_traceback(error: BaseException) -> str:
    """The traceback for the log: frames and types; of the texts only what is known to hold no data."""
    lines: list[str] = []
    for link in _chain(error):
        lines += ["Traceback (most recent call last):\n", *traceback.format_tb(link.__traceback__)]
        lines.append(f"{_type_name(link)}{_safe_text(link)}\n\n")
    return "".join(lines)


def _safe_text(error: BaseException) -> str:
    if isinstance(error, TuneloopError):
        return f": {error.code} {error.what}"
    if isinstance(error, OSError) and error.errno:
        return f": [Errno {error.errno}] {error.strerror} {error.filename or ''}"
    known = ", ".join(sign.why for sign in signs_in(str(error)))
    return f": {known}" if known else " (its text is left out: it could hold what a row says)"
