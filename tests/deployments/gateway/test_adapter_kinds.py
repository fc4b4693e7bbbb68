"""Every kind of adapter from training through evaluation and registry to the model that the gateway loads."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from deployments.gateway.models import load
from tasks.adapters import registry
from tasks.adapters.base_models import resolve
from tasks.adapters.store import Store
from tasks.contracts import Record, TrainedModel
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.metrics import perplexity
from tasks.evaluate.plan import AnswerLine, Plan, systems_of
from tasks.evaluate.rows import read_split
from tasks.evaluate.worker import answer_all
from tasks.inference.engine import Engine
from tasks.register.record import Evidence, entry
from tasks.train.methods import quantization_of
from tasks.train.start import find_start
from tasks.train.worker import RESULT, Result, run_job
from tests.tasks.train.training_rows import make_job
from tests.tiny_release import CONFIG, NAME, make_dataset, make_evidence

KINDS: dict[str, dict[str, Any]] = {
    "lora_8bit": {"adapter": "lora_8bit", "learning_rate": 5e-3},
    "dora": {"adapter": "dora", "rslora": True, "learning_rate": 5e-3},
    "full": {"adapter": "full", "learning_rate": 1e-3},
}
STORED = {"lora_8bit": "8 bits", "dora": "bf16", "full": "every weight was learned"}


class _Note(Record):
    uri: str


def trained_model(folder: Path, model: Path, kind: str) -> TrainedModel:
    """A real training of this kind, in the store."""
    job = make_job(folder, model, **KINDS[kind])
    assert run_job(job, bool)
    result = Result.model_validate_json((job.work / RESULT).read_text())
    store = Store.open()

    def keep(place: Path) -> _Note:
        shutil.copytree(job.work, place, dirs_exist_ok=True)
        return _Note(uri=store.uri("train", result.adapter_digest))

    note = store.produce("train", result.adapter_digest, _Note, keep)
    told = make_evidence(model, 1).trained.model_dump() | {
        "uri": note.uri,
        "adapter_digest": result.adapter_digest,
        "quantization": quantization_of(job.config.adapter),
        "adapter": job.config.adapter,
        "measures": {"preference_accuracy": 0.75},
    }
    return TrainedModel.model_validate(told)


@pytest.mark.parametrize("kind", KINDS)
def test_from_training_to_the_gateway(registry_home: Path, teachable_model: Path, tmp_path: Path, kind: str) -> None:
    trained, store = trained_model(tmp_path, teachable_model, kind), Store.open()
    dataset = make_dataset(resolve(str(teachable_model)))
    evidence = make_evidence(teachable_model, 1).model_copy(update={"trained": trained, "dataset": dataset})
    told = entry(NAME, Evidence.model_validate(evidence.model_dump()), CONFIG, "{}")
    version = registry.register(told, store.path(trained.uri))
    served = registry.served(NAME, version.version)
    assert served is not None
    assert STORED[kind] in registry.text(NAME, version.version, "model_card.md")
    assert registry.tags(NAME, version.version)["adapter"] == kind
    loaded = load(served)
    assert isinstance(loaded.engine, Engine)
    rows = read_split(store.path(dataset.uri), "test")
    answers, found = evaluated(store, trained, dataset)
    assert ["".join(loaded.engine.stream(row.prompt, 6)) for row in rows] == answers
    base = Engine.load(trained.base, None, trained.quantization)
    now, before = (perplexity(e.answer_losses([row.messages for row in rows], 1)) for e in (loaded.engine, base))
    assert now == pytest.approx(found, rel=1e-6)
    assert now < 0.97 * before


def evaluated(store: Store, trained: TrainedModel, dataset: Any) -> tuple[list[str], float]:
    """The candidate's answers and perplexity as the evaluation gets them."""
    config = EvaluateConfig(max_new_tokens=6, batch_rows=1, retention=False)
    tuned = [s for s in systems_of(trained, str(store.path(trained.uri)), None) if s.name == "tuned"]
    made = answer_all(store, Plan(dataset=dataset, config=config, systems=tuple(tuned)), lambda *_: None)["tuned"]
    lines = (store.path(made.uri) / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    return [AnswerLine.model_validate_json(line).answer for line in lines], made.perplexity


def test_a_training_goes_on_from_a_registered_version(
    registry_home: Path, teachable_model: Path, tmp_path: Path
) -> None:
    trained, store = trained_model(tmp_path, teachable_model, "full"), Store.open()
    dataset = make_dataset(resolve(str(teachable_model)))
    evidence = make_evidence(teachable_model, 1).model_copy(update={"trained": trained, "dataset": dataset})
    told = entry(NAME, Evidence.model_validate(evidence.model_dump()), CONFIG, "{}")
    registry.register(told, store.path(trained.uri))
    job = make_job(tmp_path / "b", teachable_model, **KINDS["full"], start_from=f"{NAME}@1")
    found = find_start(job.config, job.base)
    assert found is not None
    assert found.digest == trained.adapter_digest
    assert (found.folder / "model.safetensors").is_file()
