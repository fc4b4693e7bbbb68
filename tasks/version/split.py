"""Who is trained on and who is held out. Pure: rows and what the ledger holds in, membership with reasons out."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256

from tasks.adapters.row_files import merged
from tasks.contracts import Message, Record, Row, Split
from tasks.digest import digest_of
from tasks.errors import DataRefused, UsageError
from tasks.similarity.keys import prompt_text
from tasks.similarity.near import near_pairs_between
from tasks.version.config import SplitConfig

SHINGLE_CHARACTERS = 5


class Membership(Record):
    """Row id → split of every kept row, and what deviated from the plain rule."""

    splits: dict[str, Split]
    deviations: tuple[str, ...] = ()


def prompt_entity(row: Row) -> str:
    """Digest of the row's normalised prompt."""
    return digest_of(["prompt", prompt_text(row.prompt)])


def group_entity(row: Row, group_by: str | None) -> str | None:
    """Digest of the value that keeps rows together; None without grouping or where the row lacks it."""
    value = row.metadata.get(group_by, "") if group_by else ""
    return digest_of(["group", group_by, value]) if value else None


def entities(row: Row, group_by: str | None) -> tuple[str, ...]:
    """Everything that enters the ledger when the row is held out."""
    group = group_entity(row, group_by)
    return (prompt_entity(row), group) if group else (prompt_entity(row),)


def assign(rows: Sequence[Row], config: SplitConfig, ledger: set[str]) -> Membership:
    """Split of every kept row.

    A declared test source wins, then the ledger, then the keyed hash of the group or prompt. Where any source is
    declared test, undeclared rows are trained on unless the ledger knows them. A group goes as a whole.

    Raises:
        UsageError: no row has the metadata that `group_by` names.
    """
    _check_group(rows, config.group_by)
    units = {row.row_id: group_entity(row, config.group_by) or prompt_entity(row) for row in rows}
    declared = any(row.declared_split == "test" for row in rows)
    plain = {row.row_id: _plain_split(row, units[row.row_id], config, declared=declared) for row in rows}
    grouped = {units[r.row_id] for r in rows if r.declared_split == "test" and group_entity(r, config.group_by)}
    known = _known_units(rows, config.group_by, plain, grouped, ledger)
    splits: dict[str, Split] = {}
    deviations: Counter[str] = Counter()
    for row in rows:
        held = units[row.row_id] in known or units[row.row_id] in grouped
        splits[row.row_id] = "test" if held else plain[row.row_id]
        if held and plain[row.row_id] == "train":
            by_group = units[row.row_id] in grouped
            deviations["share a group with a test row" if by_group else "were held out by an earlier version"] += 1
    texts = tuple(f"{n} rows are held out instead of trained on, since they {why}" for why, n in deviations.items())
    return Membership(splits=splits, deviations=texts)


def _known_units(
    rows: Sequence[Row], group_by: str | None, plain: Mapping[str, Split], grouped: set[str], ledger: set[str]
) -> set[str]:
    """Units that the ledger moves into the test split: groups it knows, and prompts it knows.

    A row whose prompt is in the ledger because an equal prompt is held out right now stays where it was: the leak check
    merges it, on this run as on the one that filled the ledger. So a second run with the same rows changes nothing.
    """
    groups = {row.row_id: group_entity(row, group_by) for row in rows}
    known = {group for group in groups.values() if group in ledger and group is not None}
    held_now = {
        prompt_entity(row) for row in rows
        if plain[row.row_id] == "test" or groups[row.row_id] in known | grouped
    }  # fmt: skip
    prompts = ledger - held_now
    return known | {groups[r.row_id] or prompt_entity(r) for r in rows if prompt_entity(r) in prompts}


def _check_group(rows: Sequence[Row], group_by: str | None) -> None:
    if group_by and not any(row.metadata.get(group_by) for row in rows):
        names = sorted({name for row in rows for name in row.metadata})
        raise UsageError(
            f"no row has the metadata '{group_by}'",
            where="split.group_by",
            why=f"the rows have {', '.join(names) or 'no metadata'}",
            remedy="name one of these, or map a column to it with data.sources[].columns",
        )


def _plain_split(row: Row, unit: str, config: SplitConfig, *, declared: bool) -> Split:
    if row.declared_split is not None:
        return row.declared_split
    if declared:
        return "train"
    return "test" if keyed_share(config.key, unit) < config.test_share else "train"


def keyed_share(key: str, unit: str) -> float:
    """A number in 0..1 that depends on nothing but key and unit, uniform over units."""
    return int.from_bytes(sha256(f"{key}\0{unit}".encode()).digest()[:8], "big") / 2**64


def merge_leaks(rows: Sequence[Row], splits: Mapping[str, Split], threshold: float) -> list[Row]:
    """Merge training rows whose prompt is nearly that of a held-out row into that row."""
    train = [r for r in rows if splits.get(r.row_id) == "train"]
    test = [r for r in rows if splits.get(r.row_id) == "test"]
    pairs = near_pairs_between(
        [prompt_text(r.prompt) for r in train], [prompt_text(r.prompt) for r in test], threshold, SHINGLE_CHARACTERS
    )
    best: dict[str, tuple[float, Row]] = {}
    for left, right, similarity in pairs:
        if similarity > best.get(train[left].row_id, (0.0, None))[0]:
            best[train[left].row_id] = similarity, test[right]

    def judged(row: Row) -> Row:
        if row.row_id not in best:
            return row
        similarity, held = best[row.row_id]
        return merged(row, held, "leak", f"its prompt is {similarity:.0%} the same as that of a held-out row")

    return [judged(row) for row in rows]


def permute_answers(rows: Sequence[Row], seed: int) -> list[Row]:
    """Training rows with their answers dealt out anew among them: what can then be learned is not in the prompts."""
    answers = [row.answer for row in rows]
    random.Random(seed).shuffle(answers)
    return [
        row.model_copy(update={
            "messages": (*row.messages[:-1], Message(role="assistant", content=answer)),
            "steps": (*row.steps, f"answers_permuted_{seed}"),
        })
        for row, answer in zip(rows, answers, strict=True)
    ]  # fmt: skip


def refuse_empty(train: int, test: int) -> None:
    """Refuse a version without rows on one side.

    Raises:
        DataRefused: nothing to train on, or nothing to prove the result with.
    """
    if train and test:
        return
    raise DataRefused(
        "no row is left to train on" if not train else "no row is held out",
        where=f"{train} training, {test} held-out rows",
        why="all rows are held out or resemble held-out rows"
        if not train
        else "the data is too small for split.test_share",
        remedy="add rows" if not train else "add rows, raise split.test_share, or give a source with split: test",
    )
