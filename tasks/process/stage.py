"""The stage as a whole: one written form, second privacy scan, contradictions, duplicates.

Two passes over the shards with a decision in between. The first cleans the rows and gives a few numbers for each; on
these contradictions and duplicates are decided, and only pairs that look alike are read again; the second writes every
row with its outcome. Beyond the numbers (see `index_bytes`) memory does not depend on the number of rows.
"""

from __future__ import annotations

import json
import shutil
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from tasks import progress
from tasks.adapters.engine import Engine, open_engine
from tasks.adapters.pseudonym_key import pseudonym_key
from tasks.adapters.row_files import Shard, ShardWriter, finish_output, iter_rows, open_output, shard_path
from tasks.adapters.store import Store, stage_key
from tasks.contracts import Record, Rows
from tasks.process.config import ProcessConfig

if TYPE_CHECKING:
    from tasks.process.duplicates import Standing, Verdict

REVISION = 3
CONFLICTS = "conflicts.jsonl"
REPORT = "duplicates.json"
_CLEANED = "cleaned"


class DuplicateReport(Record):
    """What the search for duplicates did, beside the outcomes of the rows; `duplicates.json` in the output."""

    compared: int = Field(description="Pairs of rows that were compared on their true sets.")
    conflicts: int = Field(description="Pairs with nearly the same prompt and different answers; all are kept.")
    crowded: int = Field(description="Rows among so many alike that they were compared with some of them only.")
    crowd: int = Field(description="From how many rows that look alike on only some are compared.")
    bands: int = Field(description="Bands of the MinHash signature.")
    band_rows: int = Field(description="Values in a band.")
    recall: float = Field(description="Share of the pairs exactly at the threshold that is expected to be compared.")
    index_bytes: int = Field(description="Memory of the index for each row.")


def process_rows(rows: Rows, config: ProcessConfig, store: Store) -> Rows:
    """Cleaned rows as a new output; every row that came in is still there, with its outcome.

    Raises:
        DataRefused: personal data is left.
    """
    key = stage_key(REVISION, rows.digest, config)

    def make(folder: Path) -> Rows:
        return _Work(rows, config, store, folder, store.uri("process", key)).run()

    return store.produce("process", key, Rows, make)


def duplicate_report(rows: Rows, store: Store) -> DuplicateReport:
    """What the search for duplicates of an output of this stage did."""
    return DuplicateReport.model_validate_json((store.path(rows.uri) / REPORT).read_text(encoding="utf-8"))


def duplicate_warnings(report: DuplicateReport) -> tuple[str, ...]:
    """What somebody should look at, in words."""
    texts = []
    if report.conflicts:
        texts.append(
            f"{report.conflicts} pairs of rows have nearly the same prompt and different answers; "
            f"they are kept and listed in {CONFLICTS}"
        )
    if report.crowded:
        texts.append(
            f"{report.crowded} rows stand among more than {report.crowd} that look alike (a long text that many "
            "prompts share?); each was compared with some of these only, so near duplicates among them may be left"
        )
    return tuple(texts)


class _Work:
    """One run of the stage in its work folder."""

    def __init__(self, rows: Rows, config: ProcessConfig, store: Store, folder: Path, uri: str) -> None:
        from tasks.process.features import Place

        given = open_output(store, rows.uri)
        self.config, self.folder, self.uri, self.privacy = config, folder, uri, given.privacy
        self.sizes = [shard.rows for shard in given.shards]
        self.own_privacy = [shard.privacy for shard in given.shards]
        self.places = [
            Place(shard_path(store, shard), folder / _CLEANED / f"{number:06d}.jsonl", given.privacy_of(shard))
            for number, shard in enumerate(given.shards)
        ]

    def run(self) -> Rows:
        from tasks.process.duplicates import Standing, Verdicts

        (self.folder / _CLEANED).mkdir()
        with open_engine(len(self.places), sum(place.source.stat().st_size for place in self.places)) as engine:
            standing = Standing(self._features(engine), Verdicts.none(sum(self.sizes)))
            self._decide(standing, engine)
            shards = self._write(standing, engine)
        shutil.rmtree(self.folder / _CLEANED)
        return finish_output(self.folder, self.uri, shards, self.privacy)

    def _features(self, engine: Engine) -> Any:
        """The index, filled shard by shard."""
        import numpy as np

        from tasks.process.features import KEYS, Index, cut_of, read_features
        from tasks.process.privacy_scan import refuse_personal_data

        total = sum(self.sizes)
        index = Index(np.zeros(total, KEYS), np.zeros((cut_of(self.config).bands, total), np.uint32))
        findings: list[tuple[str, str]] = []
        start = 0
        work = partial(read_features, config=self.config, key=self._key())
        for number, made in enumerate(engine.map(work, self.places)):
            end = start + self.sizes[number]
            index.keys[start:end], index.bands[:, start:end] = made.index
            findings += made.findings
            start = end
            self._tell("cleaned", number + 1)
        refuse_personal_data(findings)
        return index

    def _key(self) -> bytes:
        """The pseudonym key, where the rows were made with one."""
        return pseudonym_key() if any(place.privacy.key_fingerprint for place in self.places) else b""

    def _decide(self, standing: Standing, engine: Engine) -> None:
        import numpy as np

        from tasks.process import duplicates
        from tasks.process.compare import batches, compare
        from tasks.similarity.lsh import Candidates

        duplicates.quarantine_contradictions(standing)
        duplicates.merge_exact(standing)
        duplicates.near_candidates(standing)
        candidates = Candidates(standing.index.bands)
        firsts = np.cumsum([0, *self.sizes[:-1]])
        pairs = batches(candidates.pairs(), [p.target for p in self.places], firsts, standing.index.keys)
        conflicts = duplicates.merge_near(standing, engine.map(partial(compare, config=self.config), pairs))
        with (self.folder / CONFLICTS).open("w", encoding="utf-8") as stream:
            for line in duplicates.conflict_lines(standing, conflicts):
                stream.write(json.dumps(line) + "\n")
        report = self._report(candidates.found, len(conflicts), candidates.crowded)
        (self.folder / REPORT).write_text(report.model_dump_json(indent=1), encoding="utf-8")

    def _report(self, compared: int, conflicts: int, crowded: int) -> DuplicateReport:
        from tasks.process.features import cut_of, index_bytes
        from tasks.similarity.lsh import BUCKET_ROWS

        cut = cut_of(self.config)
        return DuplicateReport(
            compared=compared,
            conflicts=conflicts,
            crowded=crowded,
            crowd=BUCKET_ROWS,
            bands=cut.bands,
            band_rows=cut.rows,
            recall=round(cut.recall(self.config.near_duplicate_threshold), 4),
            index_bytes=index_bytes(self.config),
        )

    def _write(self, standing: Standing, engine: Engine) -> list[Shard]:
        from tasks.process.duplicates import of_rows

        bounds = pairwise(accumulate(self.sizes, initial=0))
        work = partial(write_outcomes, folder=self.folder, uri=self.uri)
        items = (
            Outcomes(place.target, f"rows/{number:06d}.jsonl", of_rows(standing, start, end))
            for number, (place, (start, end)) in enumerate(zip(self.places, bounds, strict=True))
        )
        shards = []
        for shard, privacy in zip(engine.map(work, items), self.own_privacy, strict=True):
            shards.append(shard.model_copy(update={"privacy": privacy}))
            self._tell("written", len(shards))
        return shards

    def _tell(self, text: str, done: int) -> None:
        progress.stop_if_interrupted()
        told = progress.Progress(stage="process", state="running", text=text, done=done, total=len(self.places))
        progress.publish(told)


class Outcomes(NamedTuple):
    """A cleaned shard, the name of its final file, and verdicts by position in it."""

    cleaned: Path
    file: str
    verdicts: dict[int, Verdict]


def write_outcomes(outcomes: Outcomes, folder: Path, uri: str) -> Shard:
    """The second pass over a shard: every row with its outcome, in the final file."""
    from tasks.process.duplicates import judged

    with ShardWriter(folder, uri, outcomes.file) as writer:
        for position, row in enumerate(iter_rows(outcomes.cleaned)):
            verdict = outcomes.verdicts.get(position)
            writer.write(judged(row, verdict) if verdict else row)
        return writer.shard()
