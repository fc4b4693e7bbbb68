"""The doors of evaluation and gate under a real Prefect server; the models' answers lie in the store already."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client

from tasks import progress
from tasks.adapters.store import Store, write_atomically
from tasks.contracts import BaseModelRef, DatasetVersion, EvalReport, GateDecision, Record, Row, TrainedModel
from tasks.errors import UsageError
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.plan import ANSWERS_STAGE, AnswerLine, System, SystemAnswers, systems_of
from tasks.evaluate.rows import messages_digest
from tasks.evaluate.task import compared_fields_at_hand, evaluate
from tasks.gate.config import GateConfig
from tasks.gate.task import gate
from tests.tasks.evaluate.answer_rows import tickets, version_of, write_dataset

TRAIN, TEST = tickets(30), tickets(40, start=30)
CONFIG = EvaluateConfig(retention=False)


class Folder(Record):
    """Stands for any stage output."""

    uri: str


def kept(store: Store, stage: str, files: dict[str, str]) -> str:
    def make(folder: Path) -> Folder:
        for name, text in files.items():
            write_atomically(folder / name, text)
        return Folder(uri=store.uri(stage, "k"))

    return store.produce(stage, "k", Folder, make).uri


def keep_answers(store: Store, system: System, dataset: DatasetVersion, answer: Any) -> None:
    key = system.key(dataset, CONFIG)

    def make(folder: Path) -> SystemAnswers:
        lines = [AnswerLine(row=messages_digest(r.messages), answer=answer(r)).model_dump_json() for r in TEST]
        write_atomically(folder / "answers.jsonl", "\n".join(lines))
        return SystemAnswers(
            uri=store.uri(ANSWERS_STAGE, key),
            rows=len(TEST),
            max_new_tokens=9,
            perplexity=3.0,
            retention=None,
            seconds_per_answer=0.1,
        )

    store.produce(ANSWERS_STAGE, key, SystemAnswers, make)


def shuffled(row: Row) -> str:
    """What a model says that was trained on shuffled answers: the right form, the content of another row."""
    return TRAIN[int(messages_digest(row.messages)[:8], 16) % len(TRAIN)].answer


@pytest.fixture
def parts(home: Path, tmp_path: Path) -> tuple[DatasetVersion, TrainedModel]:
    store = Store.open()
    write_dataset(tmp_path, TRAIN, TEST)
    files = {name: (tmp_path / name).read_text(encoding="utf-8") for name in ("train.jsonl", "test.jsonl")}
    dataset = version_of(kept(store, "version", files), TRAIN, TEST)
    base = BaseModelRef(name="b", path="/none", digest="b" * 64, tokenizer_digest="t" * 64, parameters=1)
    trained = TrainedModel(
        uri=kept(store, "train", {"adapter_model.safetensors": ""}),
        adapter_digest="a" * 64,
        base=base,
        dataset=dataset.address,
        dataset_digest=dataset.digest,
        quantization="nf4",
        steps=1,
        rows_seen=1,
        rows_available=1,
        tokens_per_second=1,
        final_loss=1,
        curve=(),
        decisions={},
        seconds=1,
    )
    unable, candidate = systems_of(trained, "", None)
    keep_answers(store, unable, dataset, lambda _row: "I cannot do that.")
    keep_answers(store, candidate, dataset, shuffled)
    return dataset, trained


@flow
def judge(dataset: DatasetVersion, trained: TrainedModel) -> tuple[EvalReport, GateDecision]:
    report = evaluate(dataset, trained, None, CONFIG)
    return report, gate(trained, report, GateConfig())


def refusal_events() -> list[dict[str, Any]]:
    with get_client(sync_client=True) as client:
        question = {"filter": {"event": {"name": ["tuneloop.gate.refused"]}}, "limit": 10}
        found: list[dict[str, Any]] = client._client.post("/events/filter", json=question).json()["events"]
        return found


def test_a_model_of_shuffled_labels_is_refused_with_artifacts_and_one_event(
    prefect_for_doors: None, parts: tuple[DatasetVersion, TrainedModel]
) -> None:
    stages: list[tuple[str, str]] = []
    with progress.listening(lambda said: stages.append((said.stage, said.state))):
        report, decision = judge(*parts)
    assert report.systems["tuned"].valid_format == 1.0
    assert report.differences["base"].low > 0.05
    assert [r.rule for r in decision.reasons if not r.passed] == ["beats_majority", "beats_nearest"]
    assert stages == [(s, state) for s in ("evaluate", "gate") for state in ("started", "finished")]

    assert judge(*parts) == (report, decision)
    deadline = time.monotonic() + 30
    while not refusal_events() and time.monotonic() < deadline:
        time.sleep(0.5)
    time.sleep(1.0)  # a second event, if there were one, would have followed the first at once
    events = refusal_events()
    assert len(events) == 1
    assert events[0]["payload"]["adapter_digest"] == "a" * 64
    assert len(events[0]["payload"]["reasons"]) == 2
    with get_client(sync_client=True) as client:
        artifacts = {a.key: str(a.data) for a in client.read_artifacts()}
        names = {run.name for run in client.read_task_runs()}
    assert "**tuned**" in artifacts["evaluation"]
    assert "refused (2 of 8 rules)" in artifacts["gate"]
    assert names == {"evaluate on ds://desk/main@1.0.0", "gate for ds://desk/main@1.0.0"}


def test_a_misspelt_field_is_refused_before_a_training(
    prefect_for_doors: None, parts: tuple[DatasetVersion, TrainedModel]
) -> None:
    @flow
    def look(fields: tuple[str, ...] | None) -> None:
        compared_fields_at_hand(parts[0], EvaluateConfig(fields=fields))

    look(None)
    look(("team",))
    with pytest.raises(UsageError, match="no field 'taem'"):
        look(("taem",))
