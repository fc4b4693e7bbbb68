"""A home in which one person is everywhere: rows of two versions, stage outputs, answers, models, logs, vault."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tasks.adapters import registry, request_log, row_decisions, vault
from tasks.adapters.ledger import VersionEntry
from tasks.adapters.pseudonym_key import fingerprint, pseudonym_key
from tasks.adapters.registry_runs import RegistryEntry
from tasks.adapters.request_log import LoggedRequest
from tasks.adapters.row_decisions import Decision
from tasks.adapters.row_files import Output, Privacy, finish_output, open_output, write_shard
from tasks.adapters.store import Store
from tasks.contracts import Message, Record, Row, Rows
from tasks.evaluate.rows import messages_digest
from tasks.privacy.subjects import subjects_of
from tests.tasks.version.versions import some_row, some_rows, versioned

ANNA = "anna@example.com"
BOB = "bob@example.org"
TEXTS = (
    "my blue lantern is broken",
    "where is my copper kettle",
    "the thistle garden invoice",
    "velvet curtain refund",
)


class Made(Record):
    """Any stage output."""

    uri: str


class Home(Record):
    """What was made."""

    root: Path
    first: VersionEntry
    second: VersionEntry
    other: VersionEntry
    subject: str

    def holding(self, *texts: str) -> list[str]:
        """Files of the home, databases included, that hold one of the texts."""
        wanted = [text.encode() for text in texts]
        files = sorted(path for path in self.root.rglob("*") if path.is_file())
        found = [path for path in files if any(text in path.read_bytes() for text in wanted)]
        return [path.relative_to(self.root).as_posix() for path in found]


def subjects(query: str) -> tuple[str, ...]:
    return subjects_of(query, ("US", "GB"), pseudonym_key())


def annas_rows() -> list[Row]:
    """One row for each thing that can become of a row."""
    mine = {"subjects": subjects(ANNA), "source": "cd", "redactions": {"EMAIL_ADDRESS": 1}}
    return [
        some_row(100, f"{TEXTS[0]}, write to <EMAIL_ADDRESS>", "lantern answer", **mine, split="train"),
        some_row(101, f"{TEXTS[1]}, write to <EMAIL_ADDRESS>", "kettle answer", **mine, split="test"),
        some_row(102, TEXTS[2], **mine).model_copy(
            update={"outcome": "quarantined", "reason": "empty: x", "split": None}
        ),
        some_row(103, TEXTS[3], **mine).model_copy(
            update={"outcome": "merged", "yields_to": f"{'ab' * 8}:000001", "split": None}
        ),
    ]


def make_home(root: Path, *, models: bool = True) -> Home:
    """The home; with `models` the registry holds one that was trained on the first version."""
    store = Store.open()
    rows = [*some_rows(30), *annas_rows(), some_row(200, "bob asks something", subjects=subjects(BOB), source="ef")]
    first = versioned(rows)
    second = versioned([*rows, *some_rows(5, first=300)])
    other = versioned(some_rows(20, first=400), project="elsewhere")
    _outputs(store, rows)
    _generated(store, annas_rows()[1])
    _training(store, first, second, models)
    _entries(root)
    (root / "runs").mkdir()
    (root / "runs" / "proj-1.html").write_text(f"<p>{first.address}: {TEXTS[1]}</p>")
    (root / "runs" / "elsewhere-1.html").write_text(f"<p>{other.address}</p>")
    return Home(root=root, first=first, second=second, other=other, subject=subjects(ANNA)[0])


def _outputs(store: Store, rows: Sequence[Row]) -> None:
    """Rows as the stages write them, rows of another source beside them, a list that points at the former."""
    privacy = Privacy(entities=("EMAIL_ADDRESS",), phone_regions=("US",), key_fingerprint=fingerprint(pseudonym_key()))

    def of(stage: str, key: str, made: Sequence[Row], key_fingerprint: str = "") -> Rows:
        used = privacy.model_copy(update={"key_fingerprint": key_fingerprint}) if key_fingerprint else privacy
        uri = store.uri(stage, key)
        return store.produce(
            stage, key, Rows, lambda f: finish_output(f, uri, [write_shard(f, uri, "a.jsonl", made)], used)
        )

    for stage in ("ingest", "process"):
        of(stage, "all", rows)
    of("ingest", "clean", some_rows(20, first=400))
    of("ingest", "old", some_rows(2, first=500), "another key")
    _produce(store, "ingest", "list", {"output.json": open_output(store, "store://ingest/all")})
    _produce(store, "validate", "docs", {"index.html": f"<td>{annas_rows()[2].row_id}</td>"})
    _quarantine(store, [row.row_id for row in rows])


def _quarantine(store: Store, row_ids: list[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def make(folder: Path) -> Made:
        pq.write_table(
            pa.table({"row_id": row_ids, "number": list(range(len(row_ids)))}), folder / "quarantine.parquet"
        )
        return Made(uri="store://quarantine/all")

    store.produce("quarantine", "all", Made, make)


def _generated(store: Store, row: Row) -> None:
    answer = json.dumps({"row": messages_digest(row.messages), "answer": "a generated kettle"})
    scored = json.dumps({"row_id": row.row_id, "prompt": [m.model_dump() for m in row.prompt], "reference": "x"})
    _produce(store, "answers", "base", {"answers.jsonl": f"{answer}\n"})
    _produce(store, "evaluate", "report", {"answers.jsonl": f"{scored}\n"})
    _produce(store, "answers", "elsewhere", {"answers.jsonl": json.dumps({"row": "0" * 64, "answer": "x"})})


def _produce(store: Store, stage: str, key: str, files: dict[str, str | Output]) -> None:
    def make(folder: Path) -> Made:
        for name, content in files.items():
            (folder / name).write_text(content if isinstance(content, str) else content.model_dump_json())
        return Made(uri=store.uri(stage, key))

    store.produce(stage, key, Made, make)


class Trained(Record):
    """The part of a trained model's record that says what it was made of."""

    dataset_digest: str
    adapter_digest: str


def _training(store: Store, first: VersionEntry, second: VersionEntry, models: bool) -> None:
    """A registered adapter, one that the gate refused, and two unfinished trainings."""
    for key, entry, digest in (("passed", first, "a" * 64), ("refused", second, "b" * 64)):
        trained = Trained(dataset_digest=entry.digest, adapter_digest=digest)
        store.produce("train", key, Trained, functools.partial(_adapter, trained))
    if models:
        register(store.path("store://train/passed"), first.digest, "a" * 64)
    work = store.root / "work"
    for name, digest in (("mine", first.digest), ("others", "f" * 64)):
        (work / "train" / name / "checkpoints").mkdir(parents=True)
        note = work / "train" / ("mine.job.json" if name == "mine" else f"{name}/checkpoints/training.json")
        note.write_text(json.dumps({"dataset_digest": digest}))
    for name, row in (("cut-short", annas_rows()[0]), ("others", some_row(1, "x"))):
        write_shard(work / "process" / name, "", "a.jsonl", [row])


def _adapter(record: Trained, folder: Path) -> Trained:
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "adapter_config.json").write_text("{}")
    return record


def register(adapter: Path, dataset_digest: str, adapter_digest: str) -> None:
    """Register an adapter with the lineage that an erasure looks for."""
    entry = RegistryEntry(name="proj", adapter_digest=adapter_digest, description="x", params={}, metrics={}, curve=(),
                          tags={"dataset_digest": dataset_digest}, texts={})  # fmt: skip
    registry.register(entry, adapter)


def _entries(root: Path) -> None:
    """Entries of the databases: two requests, originals, a repair with its text."""
    for number, tag in ((1, ANNA), (2, BOB)):
        asked = (Message(role="user", content=f"request {number}"),)
        logged = LoggedRequest(id=f"chatcmpl-{number}", at=datetime.now(UTC), model="m", version=1, prompt=asked,
                               user=request_log.user_hash(tag), answer=f"reply {number}", prompt_tokens=1,
                               completion_tokens=1, milliseconds=1)  # fmt: skip
        request_log.append(logged)
    vault.keep("cd" * 8 + ":000100", b"original of anna", subjects(ANNA))
    vault.keep("ef" * 8 + ":000200", b"original of bob", subjects(BOB))
    repaired = (Message(role="user", content="thistle, repaired"),)
    decision = Decision(row_id="cd" * 8 + ":000102", action="repair", messages=repaired, reason="x", actor="y",
                        at=datetime.now(UTC))  # fmt: skip
    row_decisions.record(decision)
