"""Rows on disk: one JSON object of `tasks.contracts.Row` a line, in source order, and what is said about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import Field

from tasks.contracts import Digest, Record, Row, RowCounts, Rows
from tasks.digest import digest_of

ROWS = "rows.jsonl"
PRIVACY = "privacy.json"


class Privacy(Record):
    """Which personal data was replaced in a file of rows; travels with it, so that every later scan looks for it."""

    entities: tuple[str, ...]
    phone_regions: tuple[str, ...] = Field(description="Two-letter codes of countries.")


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows to a work folder; the store makes the folder visible as a whole."""
    with path.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(row.model_dump_json() + "\n")


def read_rows(path: Path) -> list[Row]:
    with path.open(encoding="utf-8") as stream:
        return [Row.model_validate_json(line) for line in stream]


def write_output(folder: Path, uri: str, rows: Sequence[Row], privacy: Privacy) -> Rows:
    """Write the output of a data stage and return the reference to it.

    The digest does not depend on where the sources lay, so equal data in two places are the same rows.
    """
    write_rows(folder / ROWS, rows)
    (folder / PRIVACY).write_text(privacy.model_dump_json(), encoding="utf-8")
    digest = rows_digest(rows, privacy)
    return Rows(uri=uri, digest=digest, counts=count_rows(rows), reasons=count_reasons(rows))


def read_output(folder: Path) -> tuple[list[Row], Privacy]:
    privacy = Privacy.model_validate_json((folder / PRIVACY).read_text(encoding="utf-8"))
    return read_rows(folder / ROWS), privacy


def rows_digest(rows: Iterable[Row], privacy: Privacy) -> Digest:
    """Digest over everything but the paths of the sources."""
    return digest_of([privacy.model_dump(), [r.model_dump(exclude={"origin": {"source_uri"}}) for r in rows]])


def count_rows(rows: Sequence[Row]) -> RowCounts:
    outcomes = Counter(row.outcome for row in rows)
    return RowCounts(
        rows_in=len(rows),
        kept=outcomes["kept"],
        merged=outcomes["merged"],
        quarantined=outcomes["quarantined"],
        redacted=sum(bool(row.redactions) for row in rows),
    )


def count_reasons(rows: Iterable[Row]) -> dict[str, int]:
    """Reason code → rows; the code is what stands before the colon of `Row.reason`."""
    return dict(sorted(Counter(reason_code(row) for row in rows if row.outcome != "kept").items()))


def reason_code(row: Row) -> str:
    return row.reason.split(":", 1)[0]


def quarantined(row: Row, code: str, words: str) -> Row:
    return row.model_copy(update={"outcome": "quarantined", "reason": f"{code}: {words}"})


def merged(row: Row, into: Row, code: str, words: str) -> Row:
    return row.model_copy(update={"outcome": "merged", "reason": f"{code}: {words}", "yields_to": into.row_id})
