"""The stage as a whole: membership, checks, the version's folder in the store, its number in the database.

Rows stream from shards to files, read by workers three times: for what membership depends on, for the checks, and for
writing. In memory is an index of at most 400 bytes a kept row, and 1 kB for each that is held out.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tasks.adapters import audit, ledger
from tasks.adapters.claim import claim
from tasks.adapters.engine import Engine, open_engine
from tasks.adapters.row_files import iter_rows, open_output, shard_path
from tasks.adapters.store import Store, stage_key
from tasks.contracts import DatasetVersion, Digest, Message, Record, Row, ValidatedRows
from tasks.digest import digest_of
from tasks.version.config import SplitConfig
from tasks.version.contamination import digests
from tasks.version.content import TEST, Header, Manifest, Tally, finish_version, read_manifest, write_part
from tasks.version.judge import Shards, Verdict, judge, words_about
from tasks.version.split import (
    SplitKeys,
    assign,
    check_names,
    compact,
    entities,
    joined_keys,
    refuse_empty,
    split_keys,
)  # fmt: skip

REVISION = 3
VERSIONED = "dataset.versioned"


class Written(Record):
    """What the store keeps of a version; its number is given by the database."""

    manifest_digest: Digest


class Scanned(NamedTuple):
    """What one shard says about membership."""

    keys: SplitKeys
    names: frozenset[str]


class Job(NamedTuple):
    """One shard with what was decided about its rows, by the number of the row in the shard."""

    number: int
    path: Path
    held: frozenset[int]
    verdicts: dict[int, Verdict]
    answers: dict[int, tuple[Path, int]]
    seed: int | None


def make_version(
    validated: ValidatedRows, project: str, split: SplitConfig, policy: Digest, tokenizer: Digest, store: Store
) -> DatasetVersion:
    """The dataset version of these rows: made, or found where an equal one exists.

    Versioners of one project go one after the other. One that was killed between store and database finds its folder
    in the store and gives it its number.

    Raises:
        DataRefused: one of the two splits would be empty.
        UsageError: no row has the metadata that `group_by` or `stratify_by` names, or a benchmark cannot be read.
    """
    known = digests(split.benchmarks)
    rules = split.model_dump(exclude={"name", "benchmarks"})
    header = Header(project=project, name=split.name, policy=digest_of([policy, rules, known]), tokenizer=tokenizer,
                    group_by=split.group_by or "", warnings=validated.warnings)  # fmt: skip
    paths = [shard_path(store, shard) for shard in open_output(store, validated.rows.uri).shards]
    with versions_claim(store, project):
        return build(paths, header, split, store, inputs=(validated.rows.digest,))


def versions_claim(store: Store, project: str) -> Any:
    """Whoever numbers a version of the project holds this."""
    return claim(store.root / "locks" / f"versions-{project}.lock", f"dataset versions of {project}")


def build(
    paths: Sequence[Path], header: Header, split: SplitConfig, store: Store, *, inputs: Iterable[str],
    check: bool = True,
) -> DatasetVersion:  # fmt: skip
    """The version of the rows in these files; the caller holds `versions_claim`.

    Args:
        inputs: digests of the rows, for the key in the store.
        check: whether training rows are checked for leaks and benchmark questions.
    """
    with open_engine(len(paths), sum(path.stat().st_size for path in paths)) as engine:
        scanned = list(engine.map(functools.partial(scan, split), paths))
        keys = joined_keys([one.keys for one in scanned])
        check_names(keys, frozenset().union(*(one.names for one in scanned)), split)
        members = assign(keys, split, compact(ledger.all_held_out(header.project)))
        header = header.model_copy(update={"warnings": (*header.warnings, *members.deviations)})
        moved = digest_of(sorted(i.decode() for i in keys.row_id[members.moved]))
        key = stage_key(REVISION, *inputs, split, digests(split.benchmarks), header, moved, check)
        bounds = _bounds([len(one.keys.draw) for one in scanned])
        shards = Shards(paths, bounds, members.held)

        def make(folder: Path) -> Written:
            verdicts = judge(engine, shards, keys.row_id, split, folder) if check else {}
            manifest = _write(folder, engine, shards, keys, verdicts, header, split.permute_answers_seed)
            return Written(manifest_digest=digest_of(manifest))

        written = store.produce("version", key, Written, make)
    return register(store, store.uri("version", key), written.manifest_digest)


def _bounds(counts: Iterable[int]) -> list[int]:
    bounds = [0]
    for count in counts:
        bounds.append(bounds[-1] + count)
    return bounds


def scan(split: SplitConfig, path: Path) -> Scanned:
    """What membership of the rows of a shard depends on."""
    names: set[str] = set()

    def noted() -> Iterator[tuple[int, Row]]:
        for offset, row in _with_offsets(path):
            names.update(row.metadata)
            yield offset, row

    keys = split_keys(noted(), split)
    return Scanned(keys, frozenset(names))


def _with_offsets(path: Path) -> Iterator[tuple[int, Row]]:
    with path.open("rb") as stream:
        offset = 0
        for line in stream:
            yield offset, Row.model_validate_json(line)
            offset += len(line)


def _write(
    folder: Path, engine: Engine, shards: Shards, keys: SplitKeys, verdicts: dict[int, Verdict], header: Header,
    seed: int | None,
) -> Manifest:  # fmt: skip
    """Write the files of the version.

    Raises:
        DataRefused: one of the two splits is empty.
    """
    held = int(shards.held.sum())
    refuse_empty(len(shards.held) - held - len(verdicts), held)
    answers = _dealt(shards, keys, verdicts, seed)
    jobs = (_job(n, shards, keys, verdicts, answers, seed) for n in range(len(shards.paths)))
    made = Tally()
    for tally in engine.map(functools.partial(_write_job, folder), jobs):
        made.merge(tally)
    warnings = (*header.warnings, *words_about(verdicts))
    return finish_version(folder, len(shards.paths), made, header.model_copy(update={"warnings": warnings}))


def _job(
    number: int, shards: Shards, keys: SplitKeys, verdicts: dict[int, Verdict],
    answers: dict[int, tuple[Path, int]], seed: int | None,
) -> Job:  # fmt: skip
    rows = range(shards.bounds[number], shards.bounds[number + 1])
    place = {row: int(keys.place[row]) for row in rows}
    return Job(
        number, shards.paths[number],
        held=frozenset(place[row] for row in rows if shards.held[row]),
        verdicts={place[row]: verdicts[row] for row in rows if row in verdicts},
        answers={place[row]: answers[row] for row in rows if row in answers},
        seed=seed,
    )  # fmt: skip


def _write_job(folder: Path, job: Job) -> Tally:
    return write_part(folder, job.number, _decided(job))


def _decided(job: Job) -> Iterator[Row]:
    """The rows of a shard as they are in the version."""
    for place, row in enumerate(iter_rows(job.path)):
        if row.outcome != "kept":
            yield row.model_copy(update={"split": None}) if row.split else row
        elif place in job.verdicts:
            yield job.verdicts[place].apply(row.model_copy(update={"split": None}))
        else:
            split = "test" if place in job.held else "train"
            made = row if row.split == split else row.model_copy(update={"split": split})
            yield _with_answer(made, *job.answers[place], job.seed) if place in job.answers else made


def _dealt(
    shards: Shards, keys: SplitKeys, verdicts: dict[int, Verdict], seed: int | None
) -> dict[int, tuple[Path, int]]:
    """Where each training row's answer comes from, dealt out anew: what can be learned then is not in the prompts."""
    if seed is None:
        return {}
    import bisect

    train = [row for row in range(len(shards.held)) if not shards.held[row] and row not in verdicts]
    dealt = list(train)
    random.Random(seed).shuffle(dealt)
    return {
        row: (shards.paths[bisect.bisect_right(shards.bounds, other) - 1], int(keys.offset[other]))
        for row, other in zip(train, dealt, strict=True)
    }


def _with_answer(row: Row, path: Path, offset: int, seed: int | None) -> Row:
    with path.open("rb") as stream:
        stream.seek(offset)
        answer = Row.model_validate_json(stream.readline()).answer
    messages = (*row.messages[:-1], Message(role="assistant", content=answer))
    return row.model_copy(update={"messages": messages, "steps": (*row.steps, f"answers_permuted_{seed}")})


def register(store: Store, uri: str, manifest_digest: Digest) -> DatasetVersion:
    """Give a written version its number and put what it holds out into the ledger; repeating changes nothing."""
    folder = store.path(uri)
    manifest = read_manifest(folder)
    entry, new = ledger.record_version(
        manifest.project,
        manifest.name,
        digest=manifest.identity,
        policy_digest=manifest.policy,
        manifest_digest=manifest_digest,
        uri=uri,
        entities=(e for row in iter_rows(folder / TEST) for e in entities(row, manifest.group_by or None)),
    )
    if not audit.is_recorded(VERSIONED, entry.address):
        rows = {"train_rows": manifest.train_rows, "test_rows": manifest.test_rows}
        audit.record(VERSIONED, entry.address, details={**rows, "digest": entry.digest})
    return describe(entry, manifest, new=new)


def describe(entry: ledger.VersionEntry, manifest: Manifest, *, new: bool) -> DatasetVersion:
    """The record of a version that other stages get."""
    return DatasetVersion(
        address=entry.address, version=entry.version, digest=entry.digest, uri=entry.uri,
        manifest_digest=entry.manifest_digest, counts=manifest.counts, reasons=manifest.reasons,
        train_rows=manifest.train_rows, test_rows=manifest.test_rows, tokenizer_digest=manifest.tokenizer, new=new,
        warnings=manifest.warnings,
    )  # fmt: skip
