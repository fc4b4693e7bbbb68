"""The stage as a whole: measures, row rules, quarantine of what breaks them, dataset rules, report.

Two passes over the shards with the rules in between. The first turns each kept row into a line of numbers; on those
Great Expectations and an evaluation of our own judge; the second writes every row with its score and its outcome.
Beyond the numbers (about 150 bytes a row, twice while they are judged) memory does not depend on the number of rows.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import progress
from tasks.adapters.engine import Engine, open_engine
from tasks.adapters.model_settings import context_tokens
from tasks.adapters.pseudonym_key import pseudonym_key
from tasks.adapters.row_files import Output, Shard, finish_output, open_output, shard_path
from tasks.adapters.store import Store, stage_key
from tasks.contracts import Record, Rows, ValidatedRows
from tasks.digest import digest_folder
from tasks.errors import DataRefused
from tasks.validate.config import ChecksConfig
from tasks.validate.decisions import overlays_at_hand
from tasks.validate.expectations import Expectations, project_folder
from tasks.validate.language import check_codes

if TYPE_CHECKING:
    from tasks.validate.judge import RowVerdicts
    from tasks.validate.shards import Given, Judged, Measured, Work

REVISION = 4
DOCS = "data_docs"


class Verdict(Record):
    """What the stage stores: a refusal is stored too, so that an identical run repeats it without computing."""

    validated: ValidatedRows
    refusals: tuple[str, ...]


def validate_rows(
    rows: Rows, checks: ChecksConfig, tokenizer_digest: str, tokenizer: Path, store: Store
) -> ValidatedRows:
    """Rows after the rules.

    Args:
        tokenizer: folder of the base model; its tokenizer is loaded where rows are measured.

    Raises:
        DataRefused: a critical rule about the whole dataset is broken; the report is in the store.
        EnvironmentUnusable: Great Expectations and our own evaluation do not agree.
    """
    verdict = judge_rows(rows, checks, tokenizer_digest, tokenizer, store)
    if verdict.refusals:
        raise DataRefused(
            "the data breaks rules that every dataset must keep",
            where=f"{rows.counts.rows_in} rows in",
            why="; ".join(verdict.refusals),
            remedy=f"see {store.path(verdict.validated.report_uri) / 'index.html'}; repair the data or change checks; "
            "`tuneloop data quarantine list` shows the rows and what can be done about each",
        )
    return verdict.validated


def judge_rows(rows: Rows, checks: ChecksConfig, tokenizer_digest: str, tokenizer: Path, store: Store) -> Verdict:
    """The verdict, computed unless it is stored. What people decided about rows at hand is part of the key."""
    check_codes(checks.languages)
    overlays = overlays_at_hand(rows, store)
    limited = _as_the_model_reads(checks, tokenizer)
    decisions = [overlay.digest for overlay in overlays]
    key = stage_key(REVISION, rows.digest, limited, tokenizer_digest, digest_folder(project_folder()), decisions)

    def make(folder: Path) -> Verdict:
        from tasks.validate.shards import Given, Work

        output = open_output(store, rows.uri)
        by_row = {overlay.row_id: overlay for overlay in overlays}
        shards = [Given(shard_path(store, shard), output.privacy_of(shard)) for shard in output.shards]
        secret = pseudonym_key() if by_row and any(given.privacy.key_fingerprint for given in shards) else b""
        work = Work(checks=limited, tokenizer=str(tokenizer), overlays=by_row, key=secret)
        return _Run(work, output, shards, folder, store.uri("validate", key)).verdict()

    return store.produce("validate", key, Verdict, make)


def _as_the_model_reads(checks: ChecksConfig, tokenizer: Path) -> ChecksConfig:
    """The checks with no longer rows than the model can read; the report and the reasons name the limit that holds."""
    longest = context_tokens(tokenizer)
    if longest is None or longest >= checks.max_tokens:
        return checks
    return checks.model_copy(update={"max_tokens": longest})


class _Run:
    """One computation of the verdict in its work folder."""

    def __init__(self, work: Work, output: Output, given: list[Given], folder: Path, uri: str) -> None:
        self.work, self.output, self.given, self.folder, self.uri = work, output, given, folder, uri

    def verdict(self) -> Verdict:
        from tasks.validate.judge import gather, judge_dataset, judge_row_rules
        from tasks.validate.rules import read_suites

        suites = read_suites(project_folder() / "expectations")
        values = {k: float(v) for k, v in self.work.checks.model_dump(exclude={"languages"}).items()}
        with open_engine(len(self.given), sum(one.path.stat().st_size for one in self.given)) as engine:
            measures = gather(self._measured(engine))
            expectations = Expectations(self.folder / "gx")
            verdicts = judge_row_rules(measures, suites, values, expectations)
            shards = self._rewrite(engine, verdicts)
        rows = finish_output(self.folder, self.uri, shards, self.output.privacy)
        dataset = judge_dataset(rows, verdicts.kept, suites, values, expectations)
        self._write_report(rows, verdicts, dataset, expectations)
        validated = ValidatedRows(
            rows=rows,
            rules=len(verdicts.reports) + len(dataset.reports),
            warnings=(*verdicts.warnings, *dataset.warnings),
            report_uri=f"{self.uri}/{DOCS}",
        )
        return Verdict(validated=validated, refusals=dataset.refusals)

    def _measured(self, engine: Engine) -> Iterator[Measured]:
        from tasks.validate.shards import measure_shard

        for done, found in enumerate(engine.map(partial(measure_shard, work=self.work), self.given), 1):
            yield found
            self._tell("measured", done)

    def _rewrite(self, engine: Engine, verdicts: RowVerdicts) -> list[Shard]:
        from tasks.validate.quarantine_file import QUARANTINE, join_parts
        from tasks.validate.shards import part_path, rewrite_shard

        judged = self._judged(verdicts)
        written = engine.map(partial(rewrite_shard, work=self.work, folder=self.folder, uri=self.uri), judged)
        shards = []
        for shard, before in zip(written, self.output.shards, strict=True):
            shards.append(shard.model_copy(update={"privacy": before.privacy}))
            self._tell("written", len(shards))
        join_parts([part_path(self.folder, shard.file) for shard in shards], self.folder / QUARANTINE)
        shutil.rmtree(self.folder / "quarantine", ignore_errors=True)
        return shards

    def _judged(self, verdicts: RowVerdicts) -> Iterator[Judged]:
        """The verdicts, parted by shards."""
        from tasks.validate.shards import Judged

        for number, (given, (start, end)) in enumerate(zip(self.given, pairwise(verdicts.measures.ends), strict=True)):
            score: Any = verdicts.measures.numbers["quality"][start:end].copy()
            breaches = verdicts.between(start, end)
            yield Judged(given=given, file=f"{number:06d}.jsonl", quality=score, breaches=breaches)

    def _write_report(self, rows: Rows, verdicts: RowVerdicts, dataset: Any, expectations: Expectations) -> None:
        from tasks.validate.report import Report, write_page
        from tasks.validate.totals import language_shares

        docs = self.folder / DOCS
        pages = expectations.write_docs(docs / "great_expectations")
        report = Report(
            rules=(*verdicts.reports, *dataset.reports),
            counts=rows.counts,
            reasons=rows.reasons,
            refusals=dataset.refusals,
            warnings=(*verdicts.warnings, *dataset.warnings),
            languages=language_shares(verdicts.measures.numbers),
            toxicity_measured=self.work.checks.max_toxicity < 1,
            decisions=len(self.work.overlays),
            pages={suite: f"great_expectations/{page}" for suite, page in pages.items()},
        )
        write_page(report, verdicts.measures.numbers, docs / "index.html")

    def _tell(self, text: str, done: int) -> None:
        progress.stop_if_interrupted()
        told = progress.Progress(stage="validate", state="running", text=text, done=done, total=len(self.given))
        progress.publish(told)
