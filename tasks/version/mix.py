"""Weighted mixtures of several dataset versions: a version of its own, with the versions it was made from as parents.

The weights say how the training rows are shared out; every held-out row of the parts is held out in the mixture. Which
rows are drawn is decided by a hash of seed and content, so that the same parts and seed always give the same mixture. A
row that is held out in any part, or in the holdout ledger of any part's project, is never trained on in the mixture.
Memory holds a short entry for each row of the parts, never the rows.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, field_validator

from tasks.adapters import audit, ledger
from tasks.adapters.ledger import VersionEntry
from tasks.adapters.row_files import merged
from tasks.adapters.store import Store
from tasks.contracts import DatasetVersion, Record, Row, Split
from tasks.digest import digest_of
from tasks.errors import UsageError
from tasks.similarity.keys import normalised
from tasks.version.catalog import find, rows_path
from tasks.version.config import SplitConfig
from tasks.version.content import Manifest, read_manifest, row_digest
from tasks.version.derive import derive
from tasks.version.lines import placed, rows_at
from tasks.version.preview import rank
from tasks.version.split import group_entity, prompt_entity

_SPLITS: tuple[Split, Split] = ("test", "train")


class MixturePart(Record):
    """One version with its share in the mixture."""

    address: str = Field(description="ds://project/name@1.2.0; without a number, the newest.")
    weight: float = Field(gt=0, description="Share of the rows, relative to the weights of the other parts.")


class MixtureConfig(Record):
    """What is mixed, and how much of it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="Name of the mixture in ds://project/name.")
    parts: tuple[MixturePart, ...] = Field(
        min_length=2, description="Versions to mix; rows that are in several count for the first."
    )
    rows: int | None = Field(
        None, ge=1, description="Rows to train on; empty: as many as there are without repetition."
    )
    seed: int = Field(17, ge=0, description="Seed of the draw.")

    @field_validator("parts")
    @classmethod
    def _once_each(cls, parts: tuple[MixturePart, ...]) -> tuple[MixturePart, ...]:
        twice = [a for a, n in Counter(part.address for part in parts).items() if n > 1]
        if twice:
            raise ValueError(f"{twice[0]} is named twice; give it one weight")
        return parts


class _Entry(NamedTuple):
    """One row of a part: what is known of it without its text."""

    rank: int
    part: int
    place: int
    row_id: str
    content: bytes
    prompt: str
    groups: tuple[str, ...]


_BySplit = dict[Split, list[_Entry]]
_Key = tuple[int, int]  # part, and the place of the row in it


class _Yielded(NamedTuple):
    """Why a row is not in the mixture: code, and the row that says the same."""

    code: str
    winner: str


_WORDS = {"leak": "its prompt is that of a held-out row", "exact_duplicate": "the same as a row of an earlier part"}


class Plan(NamedTuple):
    """What becomes of the rows of all parts; rows that were not drawn are in none of the two."""

    drawn: dict[_Key, Split]
    yielded: dict[_Key, _Yielded]
    taken: list[Counter[Split]]
    """For each part: rows in the mixture by split."""


def mix(config: MixtureConfig, store: Store) -> DatasetVersion:
    """Make the mixture, or find it where it was made before; it belongs to the project of the first part.

    Raises:
        UsageError: no such version, parts that were checked with different tokenizers, or more rows than there are.
    """
    entries = [find(part.address) for part in config.parts]
    manifests = [read_manifest(store.path(entry.uri)) for entry in entries]
    paths = [rows_path(entry, store) for entry in entries]
    _check_tokenizers(entries, manifests)
    groups = sorted({m.group_by for m in manifests if m.group_by})
    if len(groups) > 1:
        raise UsageError("the parts keep rows together by different keys", where="data mix",
                         why=f"split.group_by is {' and '.join(groups)}",
                         remedy="prepare the parts with the same split.group_by")  # fmt: skip
    made = plan(paths, [entry.project for entry in entries], groups, config)
    rules = [[m.policy, part.weight] for m, part in zip(manifests, config.parts, strict=True)]
    version = derive(
        store, entries[0].project, config.name, mixed_rows(paths, made),
        policy=digest_of(["mixture", rules, config.rows, config.seed]), tokenizer=manifests[0].tokenizer,
        parents={e.address: _taken(made, number, manifests[number]) for number, e in enumerate(entries)},
        derived_from=f"mixture of {len(entries)} versions, seed {config.seed}",
        group_by=groups[0] if groups else "", split=SplitConfig(),
    )  # fmt: skip
    if version.new:
        parts = ", ".join(f"{e.address}={p.weight:g}" for e, p in zip(entries, config.parts, strict=True))
        audit.record("dataset.mixed", version.address, details={"parts": parts, "rows": version.train_rows})
    return version


def _check_tokenizers(entries: Sequence[VersionEntry], manifests: Sequence[Manifest]) -> None:
    """Lengths were checked in the tokens of one model: what was checked for another one may be too long for it."""
    other = next((e for e, m in zip(entries, manifests, strict=True) if m.tokenizer != manifests[0].tokenizer), None)
    if other is not None:
        raise UsageError("the parts were checked with different tokenizers", where=other.address,
                         why=f"it differs from {entries[0].address}",
                         remedy="prepare the parts with the same model.base, then mix the new versions")  # fmt: skip


def _taken(made: Plan, number: int, manifest: Manifest) -> str:
    taken = made.taken[number]
    return (
        f"{taken['train']} of {manifest.train_rows} training rows, {taken['test']} held out"
        f" ({100 * taken['train'] / max(1, sum(t['train'] for t in made.taken)):.0f} % of the mixture)"
    )


def plan(paths: Sequence[Path], projects: Sequence[str], groups: Sequence[str], config: MixtureConfig) -> Plan:
    """Decide on every kept row of the parts.

    Args:
        projects: whose holdout ledgers count.
        groups: metadata keys whose groups are held out as a whole.

    Raises:
        UsageError: more rows are asked for than there are.
    """
    left, yielded = _without_repeats(_entries(paths, projects, groups, config.seed))
    by_part = [sorted(entry for entry in left["train"] if entry.part == number) for number in range(len(paths))]
    counts = _counts([len(rows) for rows in by_part], _shares(config), config.rows)
    train = [entry for rows, count in zip(by_part, counts, strict=True) for entry in rows[:count]]
    drawn: dict[_Key, Split] = {(e.part, e.place): "test" for e in left["test"]}
    drawn |= {(e.part, e.place): "train" for e in train}
    ids = {entry.row_id for entry in (*left["test"], *train)}
    taken = [Counter(split for (part, _), split in drawn.items() if part == number) for number in range(len(paths))]
    return Plan(drawn, {key: why for key, why in yielded.items() if why.winner in ids}, taken)


def _shares(config: MixtureConfig) -> list[Fraction]:
    weights = [Fraction(str(part.weight)) for part in config.parts]
    return [weight / sum(weights) for weight in weights]


def _counts(available: Sequence[int], shares: Sequence[Fraction], wanted: int | None) -> list[int]:
    """Rows of each part: the shares of `wanted`, or of the most that no part has to repeat rows for.

    What is left over by rounding down goes to the parts with the largest remainders.
    """
    most = min(int(have / share) for have, share in zip(available, shares, strict=True))
    total = most if wanted is None else wanted
    counts = [int(total * share) for share in shares]
    order = sorted(range(len(shares)), key=lambda i: (counts[i] - total * shares[i], i))
    for number in order[: total - sum(counts)]:
        counts[number] += 1
    short = next((i for i, count in enumerate(counts) if count > available[i]), None)
    if short is not None:
        raise UsageError(f"the mixture cannot have {total} rows to train on", where="--rows",
                         why=f"part {short + 1} has {available[short]} rows and would have to give {counts[short]}",
                         remedy=f"ask for {most} rows or fewer, or leave --rows out")  # fmt: skip
    return counts


def _entries(paths: Sequence[Path], projects: Sequence[str], groups: Sequence[str], seed: int) -> _BySplit:
    """The kept rows of all parts by split.

    A training row is held out where its group, or its prompt, was held out by a part or by an earlier version of any of
    the projects. An equal prompt that a part itself holds out is another case: the row is a copy, and yields to it.
    """
    found: _BySplit = {"test": [], "train": []}
    for number, path in enumerate(paths):
        for place, row in placed(path):
            if row.split is not None:
                found[row.split].append(_entry(row, number, place, groups, seed))
    now = {entry.prompt for entry in found["test"]}
    held = {group for entry in found["test"] for group in entry.groups}
    asked = {e for entry in found["train"] for e in (entry.prompt, *entry.groups) if e not in now}
    held = held.union(*(ledger.held_out(project, asked) for project in sorted(set(projects))))
    moved = [entry for entry in found["train"] if not held.isdisjoint((entry.prompt, *entry.groups))]
    ids = {(entry.part, entry.place) for entry in moved}
    found["test"] += moved
    found["train"] = [entry for entry in found["train"] if (entry.part, entry.place) not in ids]
    return found


def _entry(row: Row, part: int, place: int, groups: Sequence[str], seed: int) -> _Entry:
    entities = tuple(entity for name in groups if (entity := group_entity(row, name)))
    return _Entry(rank(seed, row_digest(row)), part, place, row.row_id, content_key(row), prompt_entity(row), entities)


def content_key(row: Row) -> bytes:
    """Equal for rows that say the same but for case and white space."""
    said = [[m.role, normalised(m.content), [c.model_dump() for c in m.tool_calls]] for m in row.messages]
    return bytes.fromhex(digest_of([said, normalised(row.rejected)]))[:16]


def _without_repeats(entries: _BySplit) -> tuple[_BySplit, dict[_Key, _Yielded]]:
    """Leave out what is there already: the record or content of an earlier part, or the prompt of a held-out row."""
    left: _BySplit = {"test": [], "train": []}
    yielded: dict[_Key, _Yielded] = {}
    seen: dict[object, str] = {}
    prompts = {entry.prompt: entry.row_id for entry in reversed(entries["test"])}
    for split in _SPLITS:
        for entry in entries[split]:
            known = seen.get(entry.row_id) or seen.get(entry.content)
            leak = prompts.get(entry.prompt) if split == "train" else None
            if known or leak:
                winner = _Yielded("leak", leak) if leak else _Yielded("exact_duplicate", known or "")
                yielded[entry.part, entry.place] = winner
                continue
            seen[entry.row_id] = seen[entry.content] = entry.row_id
            left[split].append(entry)
    return left, yielded


def mixed_rows(paths: Sequence[Path], made: Plan) -> Iterator[Row]:
    """The rows of the mixture in canonical order; those that yielded to one of them stand beside it."""
    streams = [_part_rows(number, path, made) for number, path in enumerate(paths)]
    return heapq.merge(*streams, key=lambda row: (row.origin.source_digest, row.origin.record_index))


def _part_rows(number: int, path: Path, made: Plan) -> Iterator[Row]:
    places = [place for part, place in (*made.drawn, *made.yielded) if part == number]
    for place, row in zip(sorted(places), rows_at(path, places), strict=True):
        split = made.drawn.get((number, place))
        if split is not None:
            yield row.model_copy(update={"split": split})
            continue
        code, winner = made.yielded[number, place]
        if winner != row.row_id:  # one record that two parts hold is one row
            yield merged(row, winner, code, _WORDS[code]).model_copy(update={"split": None})
