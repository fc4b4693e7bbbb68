"""The certificate of an erasure, for people (Markdown) and programs (JSON). It names nobody."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from tasks.adapters.erasures import Erasure
from tasks.adapters.store import write_atomically
from tasks.contracts import Digest, Record
from tasks.erase.carry_out import Done, Replaced
from tasks.erase.plan import ModelPlan, Plan

FOLDER = "certificates"
OUT_OF_REACH = (
    "The sources: Tuneloop only reads them. As long as this state database and pseudonym key stand, their rows are not "
    "taken in again.",
    "Backups and snapshots of this machine, of the object store and of the databases.",
    "Files that were exported or copied out of Tuneloop.",
    "What models learned: the listed versions stay as they are until they are trained again and replaced.",
    "Digests of prompts in the holdout ledger, from which no text can be computed; and the manifests.",
    "Rows and requests without identifiers that Tuneloop recognises, and those written before there were keyed hashes.",
)


class Certificate(Record):
    """What was erased, when, by whom and why."""

    id: str
    actor: str
    reason: str
    started_at: datetime
    finished_at: datetime
    marks: tuple[str, ...] = Field(description="SHA-256 of the keyed hashes that were searched for.")
    rows: int = Field(description="Different rows of the person.")
    sources: dict[Digest, int] = Field(description="SHA-256 of a source → rows of the person in it.")
    versions: tuple[Replaced, ...]
    digests: dict[str, Digest] = Field(description="Address → digest of each version that was replaced.")
    outputs: dict[str, int] = Field(description="Stage → outputs erased.")
    requests: int
    vault: int
    decisions: int
    run_records: int
    work: int
    pages: int
    models: tuple[ModelPlan, ...]
    other_keys: dict[str, int] = Field(description="Key fingerprint → outputs in which this key finds nobody.")
    other_requests: dict[str, int] = Field(
        default_factory=dict, description="Key fingerprint → logged requests whose text this key cannot search."
    )
    out_of_reach: tuple[str, ...] = OUT_OF_REACH


def certificate(erasure: Erasure, plan: Plan, done: Done) -> Certificate:
    """Put together what the plan and the journal say."""
    return Certificate(
        id=erasure.id,
        actor=erasure.actor,
        reason=erasure.reason,
        started_at=erasure.started_at,
        finished_at=erasure.finished_at or datetime.now(UTC),
        marks=erasure.marks,
        rows=len(plan.row_ids),
        sources=plan.sources,
        versions=done.versions,
        digests={version.address: version.digest for version in plan.versions},
        outputs=plan.by_stage(),
        requests=done.requests,
        vault=done.vault,
        decisions=done.decisions,
        run_records=done.records,
        work=len(plan.work) + len(plan.remote_work),
        pages=len(plan.pages),
        models=plan.models,
        other_keys=plan.other_keys,
        other_requests=plan.other_requests,
    )


def write(made: Certificate, root: Path) -> tuple[Path, Path]:
    """Both files of a certificate below HOME."""
    page, data = root / FOLDER / f"{made.id}.md", root / FOLDER / f"{made.id}.json"
    write_atomically(data, made.model_dump_json(indent=1) + "\n")
    write_atomically(page, markdown(made))
    return page, data


def markdown(made: Certificate) -> str:
    """The certificate as people read it."""
    parts = [
        f"# Certificate of erasure {made.id}",
        f"Begun {made.started_at:%Y-%m-%d %H:%M:%S} UTC, finished {made.finished_at:%Y-%m-%d %H:%M:%S} UTC, "
        f"by {made.actor}. Reason: {made.reason}",
        f"{made.rows} rows of one person were found and erased. A second search over everything found none.",
        _table("Searched for (SHA-256 of the keyed hash)", [(mark, "") for mark in made.marks]),
        _table("Dataset versions", [(v.old, v.new or "no version") for v in made.versions], "erased", "replaced by"),
        _reasons(made.versions),
        _table("Digests of the erased versions", sorted(made.digests.items()), "version", "digest"),
        _table("Erased", _counts(made), "what", "number"),
        _table("Models to train again", _models(made), "version", "alias"),
        _table("Sources that hold the person", sorted(made.sources.items()), "SHA-256 of the source", "rows"),
        _table("Made with another pseudonym key: not searched", _keys(made.other_keys), "key", "outputs"),
        _table("Logged with another pseudonym key: text not searched", _keys(made.other_requests), "key", "requests"),
        "## Not erased here\n\n" + "\n".join(f"- {text}" for text in made.out_of_reach),
        "The audit log holds this certificate's digest: `tuneloop audit list --object " + made.id + "`.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(title: str, rows: Sequence[tuple[str, str | int]], *names: str) -> str:
    if not rows:
        return ""
    if not names:
        return f"## {title}\n\n" + "\n".join(f"- `{row[0]}`" for row in rows)
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    return f"## {title}\n\n" + "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def _reasons(versions: tuple[Replaced, ...]) -> str:
    return "\n".join(f"- {v.old}: {v.why}" for v in versions if v.why)


def _counts(made: Certificate) -> list[tuple[str, int]]:
    outputs = [(f"outputs of {stage}", count) for stage, count in made.outputs.items()]
    entries = [
        ("logged requests", made.requests),
        ("originals in the vault", made.vault),
        ("decisions about rows", made.decisions),
        ("pages of run history", made.run_records),
        ("unfinished work", made.work),
        ("summaries of runs", made.pages),
    ]
    return [*outputs, *((name, count) for name, count in entries if count)]


def _models(made: Certificate) -> list[tuple[str, str | int]]:
    return [(f"{model.name} version {model.version}", model.alias or "none") for model in made.models]


def _keys(counts: dict[str, int]) -> list[tuple[str, int]]:
    return [(key or "none", count) for key, count in counts.items()]
