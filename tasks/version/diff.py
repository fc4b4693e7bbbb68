"""What two versions differ in: rows that came, went, changed or moved, and the distributions side by side.

Rows are compared by content. What is left over on both sides is paired up as changed rows: the same row id, then the
same prompt with another answer, then the same record of the same source with a text that is still alike. Memory holds
one number a row of the old version, and a few for each row that differs: no texts but of the rows that are listed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from tasks.adapters.ledger import VersionEntry
from tasks.adapters.row_files import iter_rows
from tasks.adapters.store import Store
from tasks.contracts import Record, Row, Split
from tasks.digest import digest_bytes, digest_of
from tasks.similarity.keys import prompt_key
from tasks.similarity.profile import Profile
from tasks.version.catalog import find, rows_path
from tasks.version.content import PROFILE, row_digest
from tasks.version.distributions import Counting, Distributions
from tasks.version.lines import is_held_out, placed, rows_at
from tasks.version.trace import source_name

ALIKE = 0.3  # least share of equal words in two texts of one record that still count as a change of it
_EXCERPT = 120
_MAX_WORDS = 2000
_WORD = re.compile(r"\s+|\w+|[^\w\s]")
Sign = Literal["=", "-", "+"]
Common = Literal["row", "prompt", "record"]


class _Left(NamedTuple):
    """A row without its equal on the other side: where it stands and what it may be paired by."""

    place: int
    row_id: str
    prompt: bytes
    record: bytes


_Pair = tuple[_Left, _Left, Common]


class DiffRow(Record):
    """A row that is in one of the two versions only."""

    row_id: str
    source: str = Field(description="Source, and the member of an archive.")
    record_index: int
    split: Split | None
    why: str = Field(description="What became of the row on the other side; empty where it has none.")
    excerpt: str = Field(description="How the last prompt turn begins; personal data is replaced in it.")


class Moved(Record):
    """A row that is in both versions, in another split."""

    row_id: str
    old_split: Split | None
    new_split: Split | None


class PartChange(Record):
    """One part of a changed row: a turn, the rejected answer or the tools."""

    part: str
    words: tuple[tuple[Sign, str], ...] = Field(description="Text in order: = in both, - in the old, + in the new one.")


class Changed(Record):
    """A row whose content is another one now."""

    old_row_id: str
    new_row_id: str
    by: Common = Field(description="What the two have in common.")
    old_split: Split | None
    new_split: Split | None
    parts: tuple[PartChange, ...] = Field(description="Only the parts that differ.")


class Side(Record):
    """One of the two versions in numbers."""

    address: str
    numbers: Distributions
    labels: dict[str, dict[str, int]] = Field(description="Field of the training answers → value → rows.")


class Difference(Record):
    """What two versions differ in."""

    old: Side
    new: Side
    policy_changed: bool
    totals: dict[str, int] = Field(description="added, removed, changed, moved, same → rows; the lists may hold fewer.")
    added: tuple[DiffRow, ...]
    removed: tuple[DiffRow, ...]
    changed: tuple[Changed, ...]
    moved: tuple[Moved, ...]


def diff(old: str, new: str, store: Store, limit: int | None = None) -> Difference:
    """Compare the versions at two addresses; with a `limit`, no more than so many rows of each kind are listed."""
    before, after = find(old), find(new)
    paths = rows_path(before, store), rows_path(after, store)
    index, old_numbers = _index(paths[0])
    fresh, moved, same, new_numbers = _compare(paths[1], index)
    gone = [
        _left(place, row) for place, row in zip(sorted(index.values()), rows_at(paths[0], index.values()), strict=True)
    ]
    pairs, gone, come = _pairs(gone, fresh, paths)
    totals = {"added": len(come), "removed": len(gone), "changed": len(pairs), "moved": len(moved), "same": same}
    gone, come, pairs = gone[:limit], come[:limit], pairs[:limit]
    return Difference(
        old=_side(before, old_numbers, store), new=_side(after, new_numbers, store),
        policy_changed=before.policy_digest != after.policy_digest, totals=totals,
        added=_listed(come, paths[1], paths[0]), removed=_listed(gone, paths[0], paths[1]),
        changed=tuple(_changed(_read(paths[0], one), _read(paths[1], two), by) for one, two, by in pairs),
        moved=tuple(_moved(paths, *places) for places in moved[:limit]),
    )  # fmt: skip


def _side(entry: VersionEntry, numbers: Distributions, store: Store) -> Side:
    text = (store.path(entry.uri) / PROFILE).read_text(encoding="utf-8")
    return Side(address=entry.address, numbers=numbers, labels=Profile.model_validate_json(text).answers)


def _index(path: Path) -> tuple[dict[bytes, int], Distributions]:
    """Content of each kept row → where it stands. Equal contents get keys one after the other."""
    index: dict[bytes, int] = {}
    numbers = Counting()
    for place, row in placed(path):
        numbers.add(row)
        if row.outcome == "kept":
            index[next(key for key in _keys(row) if key not in index)] = place
    return index, numbers.result()


def _compare(path: Path, index: dict[bytes, int]) -> tuple[list[_Left], list[tuple[int, int]], int, Distributions]:
    """Take from the index what the new version has too; what is left in it is gone.

    Returns the rows that only the new version has, the places of those that moved, how many are the same, the numbers.
    """
    fresh: list[_Left] = []
    moved: list[tuple[int, int]] = []
    same, numbers, repeats = 0, Counting(), set[bytes]()
    for place, row in placed(path):
        numbers.add(row)
        if row.outcome != "kept":
            continue
        key = next(key for key in _keys(row) if key not in repeats)
        found = index.pop(key, None)
        if found is None:
            fresh.append(_left(place, row))
            continue
        repeats.add(key)
        if is_held_out(found) == is_held_out(place):
            same += 1
        else:
            moved.append((found, place))
    return fresh, moved, same, numbers.result()


def _keys(row: Row) -> Iterator[bytes]:
    """Keys for the first, second, ... row of this content: two equal rows on one side need two on the other."""
    key = row_digest(row)
    while True:
        yield bytes.fromhex(key[:32])
        key = digest_bytes(key.encode())


def _left(place: int, row: Row) -> _Left:
    origin = row.origin
    record = digest_of([origin.source_uri, origin.member, origin.record_index])
    return _Left(place, row.row_id, bytes.fromhex(digest_of(prompt_key(row.prompt))), bytes.fromhex(record))


def _pairs(
    gone: list[_Left], come: list[_Left], paths: tuple[Path, Path]
) -> tuple[list[_Pair], list[_Left], list[_Left]]:
    """Pair what is left over on both sides; returns the pairs and what stays without a partner."""
    pairs: list[_Pair] = []
    rules: tuple[tuple[Common, Callable[[_Left], object]], ...] = (
        ("row", lambda row: row.row_id), ("prompt", lambda row: row.prompt), ("record", lambda row: row.record),
    )  # fmt: skip
    for name, key in rules:
        partners: dict[object, list[_Left]] = {}
        for row in gone:
            partners.setdefault(key(row), []).append(row)
        rest: list[_Left] = []
        for row in come:
            waiting = partners.get(key(row), [])
            if waiting and (name != "record" or _alike(_read(paths[0], waiting[0]), _read(paths[1], row))):
                pairs.append((waiting.pop(0), row, name))
            else:
                rest.append(row)
        gone, come = sorted(row for waiting in partners.values() for row in waiting), rest
    return pairs, gone, come


def _read(path: Path, row: _Left) -> Row:
    return next(rows_at(path, [row.place]))


def _alike(old: Row, new: Row) -> bool:
    """Whether two texts of one record are versions of each other, and not two records that took the same place."""
    one, two = (_text(row).split()[:_MAX_WORDS] for row in (old, new))
    return difflib.SequenceMatcher(None, one, two, autojunk=False).ratio() >= ALIKE


def _text(row: Row) -> str:
    return "\n".join(m.content for m in row.messages)


def _listed(rows: list[_Left], path: Path, other: Path) -> tuple[DiffRow, ...]:
    """The rows with what the other version says about them, where it has them without keeping them."""
    wanted = {row.row_id for row in rows}
    fates = {r.row_id: r.reason for r in iter_rows(other) if r.outcome != "kept" and r.row_id in wanted} if rows else {}
    return tuple(_diff_row(_read(path, row), fates) for row in rows)


def _moved(paths: tuple[Path, Path], old: int, new: int) -> Moved:
    before, after = next(rows_at(paths[0], [old])), next(rows_at(paths[1], [new]))
    return Moved(row_id=after.row_id, old_split=before.split, new_split=after.split)


def _diff_row(row: Row, fates: dict[str, str]) -> DiffRow:
    origin = row.origin
    text = " ".join((row.prompt[-1].content if row.prompt else "").split())
    return DiffRow(
        row_id=row.row_id, source=source_name(origin), record_index=origin.record_index, split=row.split,
        why=fates.get(row.row_id, ""), excerpt=text if len(text) <= _EXCERPT else text[: _EXCERPT - 1] + "…",
    )  # fmt: skip


def _changed(old: Row, new: Row, by: Common) -> Changed:
    before, after = _parts(old), _parts(new)
    names = [*before, *(name for name in after if name not in before)]
    parts = [
        PartChange(part=name, words=word_diff(before.get(name, ""), after.get(name, "")))
        for name in names
        if before.get(name, "") != after.get(name, "")
    ]
    return Changed(
        old_row_id=old.row_id, new_row_id=new.row_id, by=by, old_split=old.split, new_split=new.split,
        parts=tuple(parts),
    )  # fmt: skip


def _parts(row: Row) -> dict[str, str]:
    """Every part of a row that counts as content, by name."""
    parts: dict[str, str] = {}
    for number, message in enumerate(row.messages, start=1):
        name = f"{number} {message.role}"
        parts[name] = message.content
        calls = "\n".join(f"{call.id} {call.name}({call.arguments})".strip() for call in message.tool_calls)
        speaker = f"{message.name} {message.tool_call_id}".strip()
        parts |= {f"{name} {what}": text for what, text in (("calls", calls), ("speaker", speaker)) if text}
    return parts | {name: text for name, text in (("rejected", row.rejected), ("tools", row.tools)) if text}


def word_diff(old: str, new: str) -> tuple[tuple[Sign, str], ...]:
    """The two texts as one: what both have, what only the old and what only the new one has, word by word."""
    one, two = _WORD.findall(old), _WORD.findall(new)
    if max(len(one), len(two)) > _MAX_WORDS:
        return tuple((sign, text) for sign, text in (("-", old), ("+", new)) if text)  # type: ignore[misc]
    made: list[tuple[Sign, str]] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, one, two, autojunk=False).get_opcodes():
        if kind == "equal":
            made.append(("=", "".join(one[a:b])))
        else:
            made += [("-", "".join(one[a:b]))] if b > a else []
            made += [("+", "".join(two[c:d]))] if d > c else []
    return tuple(made)
