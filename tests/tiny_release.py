"""A trained adapter of the tiny model with everything a registration needs, without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tasks.adapters import base_models, registry, releases
from tasks.adapters.store import Store
from tasks.contracts import (
    BaseModelRef,
    DatasetVersion,
    Estimate,
    EvalReport,
    GateDecision,
    GateReason,
    LossPoint,
    Message,
    Record,
    RegisteredModel,
    Row,
    RowCounts,
    RowOrigin,
    SystemScores,
    TrainedModel,
)
from tasks.digest import digest_folder, digest_of
from tasks.register.record import Evidence, entry

NAME = "support_desk"
CONFIG: dict[str, Any] = {
    "project": NAME,
    "data": {
        "sources": [{"path": "a.jsonl", "split": "auto"}],
        "privacy": {"entities": ["EMAIL_ADDRESS"], "phone_regions": ["BR"]},
    },
    "train": {"rank": 4, "max_rows": None},
}
_COUNTS = RowCounts(rows_in=12, kept=12, merged=0, quarantined=0, redacted=1)


class _Note(Record):
    """Record of a stage output that a test wrote."""

    uri: str


def make_adapter(folder: Path, seed: int) -> None:
    """Write a LoRA adapter of rank 2 that changes the tiny model's answers; without importing torch."""
    import numpy as np
    from safetensors.numpy import save_file

    chance = np.random.default_rng(seed)
    tensors = {}
    for layer in range(2):
        name = f"base_model.model.model.layers.{layer}.mlp.down_proj"
        tensors[f"{name}.lora_A.weight"] = chance.normal(size=(2, 128)).astype(np.float32)
        tensors[f"{name}.lora_B.weight"] = 20 * chance.normal(size=(64, 2)).astype(np.float32)
    save_file(tensors, str(folder / "adapter_model.safetensors"))
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "bias": "none", "target_modules": ["down_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")


def make_row(index: int, prompt: str, answer: str = "yes") -> Row:
    origin = RowOrigin(source_uri="a.jsonl", source_digest="0" * 64, record_index=index, byte_offset=0, line=index + 1)
    turns = (Message(role="user", content=prompt), Message(role="assistant", content=answer))
    return Row(row_id=f"{'0' * 16}:{index}", origin=origin, messages=turns)


def write_rows(path: Path, prompts: list[str]) -> None:
    rows = [make_row(index, prompt) for index, prompt in enumerate(prompts)]
    path.write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")


def make_dataset(base: BaseModelRef, train: list[str] | None = None, test: list[str] | None = None) -> DatasetVersion:
    """A dataset version in the store of the settings."""
    store, key = Store.open(), digest_of([train, test])

    def make(folder: Path) -> _Note:
        write_rows(folder / "train.jsonl", train or [f"where is my bike number {word}" for word in "abcdefgh"])
        write_rows(folder / "test.jsonl", test or [f"when does parcel {word} come" for word in "abcd"])
        (folder / "manifest.json").write_text('{"files": []}', encoding="utf-8")
        return _Note(uri=store.uri("version", key))

    note = store.produce("version", key, _Note, make)
    return DatasetVersion(
        address=f"ds://{NAME}/main@1.0.0",
        version="1.0.0",
        digest=key,
        uri=note.uri,
        manifest_digest="m" * 64,
        counts=_COUNTS,
        reasons={},
        train_rows=8,
        test_rows=4,
        tokenizer_digest=base.tokenizer_digest,
        new=True,
    )


def make_trained(base: BaseModelRef, dataset: DatasetVersion, seed: int) -> TrainedModel:
    """An adapter in the store of the settings."""
    store, key = Store.open(), digest_of(["adapter", seed])

    def make(folder: Path) -> _Note:
        make_adapter(folder, seed)
        return _Note(uri=store.uri("train", key))

    uri = store.produce("train", key, _Note, make).uri
    names = ["adapter_config.json", "adapter_model.safetensors"]
    return TrainedModel(
        uri=uri,
        adapter_digest=digest_folder(store.path(uri), names),
        base=base,
        dataset=dataset.address,
        dataset_digest=dataset.digest,
        quantization="none",
        steps=2,
        rows_seen=8,
        rows_available=8,
        tokens_per_second=100.0,
        final_loss=0.5,
        decisions={"compile": "off: short run"},
        seconds=1.0,
        curve=tuple(LossPoint(step=s, loss=1 / s, learning_rate=0.1, tokens=9 * s) for s in (1, 2)),
    )


def make_report(systems: tuple[str, ...] = ("base", "tuned", "majority", "nearest")) -> EvalReport:
    one = Estimate(mean=0.5, low=0.4, high=0.6)
    scores = SystemScores(
        exact_match=one,
        field_accuracy=one,
        per_field={"intent": 0.5},
        token_f1=one,
        rouge_l=one,
        valid_format=1.0,
        perplexity=3.0,
    )
    return EvalReport(
        uri="store://evaluate/x",
        digest="e" * 64,
        rows=4,
        rows_available=4,
        metric="exact_match",
        metric_reason="answers are JSON",
        fields=("intent",),
        systems=dict.fromkeys(systems, scores),
        differences={"base": one},
        seconds=1.0,
    )


def make_evidence(tiny_model: Path, seed: int, **prompts: list[str]) -> Evidence:
    """A candidate: adapters of different seeds are different versions."""
    base = base_models.resolve(str(tiny_model))
    dataset = make_dataset(base, **prompts)
    decision = GateDecision(passed=True, reasons=(GateReason(rule="gain", passed=True, text="+40 points"),))
    trained = make_trained(base, dataset, seed)
    return Evidence(trained=trained, dataset=dataset, report=make_report(), decision=decision)


def register(
    tiny_model: Path,
    seed: int,
    *,
    compared_with: int | None = None,
    release: dict[str, Any] | None = None,
    **prompts: list[str],
) -> RegisteredModel:
    """A registered version in the home of the settings."""
    evidence = make_evidence(tiny_model, seed, **prompts)
    report = evidence.report.model_copy(update={"champion_version": compared_with})
    config = {**CONFIG, "release": release or {}}
    told = entry(NAME, evidence.model_copy(update={"report": report}), config, "{}")
    model = registry.register(told, Store.open().path(evidence.trained.uri))
    releases.reconcile(NAME)
    return model


def champion(tiny_model: Path, seed: int, **prompts: list[str]) -> RegisteredModel:
    """A registered version that serves."""
    from tasks.adapters import release_history

    before = release_history.champion(NAME)
    model = register(tiny_model, seed, **prompts)
    releases.promote(NAME, model.version, before.version if before else None, "a test", "needed")
    return model
