"""Files of JSON Lines whose lines are records."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from tasks.contracts import Record

R = TypeVar("R", bound=Record)


def read_records(path: Path, kind: type[R]) -> list[R]:
    """Every line of a file as a record; empty lines are passed over.

    Only a line feed ends a line: JSON holds U+0085, U+2028 and U+2029 as they are, and `str.splitlines` cuts there.

    Raises:
        ValidationError: a line is no such record.
    """
    with path.open("rb") as stream:
        return [kind.model_validate_json(line) for line in stream if line.strip()]
