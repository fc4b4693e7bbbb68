"""One training from references to the record, through a real store and a real trainer process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.adapters.base_models import resolve
from tasks.adapters.store import Store
from tasks.contracts import BaseModelRef, DatasetVersion, RowCounts
from tasks.train.config import TrainConfig
from tasks.train.stage import training
from tests.tasks.train.training_rows import make_rows, write_rows

CONFIG = TrainConfig(batch_rows=4, micro_batch_rows=4, epochs=1, rank=2, alpha=4)


def make_dataset(store: Store, rows: int = 8) -> DatasetVersion:
    """A dataset version as the stage before leaves it, as far as training reads it."""

    def make(folder: Path) -> DatasetVersion:
        write_rows(folder / "train.jsonl", make_rows(rows))
        return DatasetVersion(
            address="ds://p/main@1.0.0",
            version="1.0.0",
            digest="1" * 64,
            uri=store.uri("version", "v1"),
            manifest_digest="2" * 64,
            counts=RowCounts(rows_in=rows, kept=rows, merged=0, quarantined=0, redacted=0),
            reasons={},
            train_rows=rows,
            test_rows=0,
            tokenizer_digest="3" * 64,
            new=True,
        )

    return store.produce("version", "v1", DatasetVersion, make)


def train(home: Path, base: BaseModelRef, config: TrainConfig = CONFIG) -> tuple[Any, list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []
    store = Store.open()
    return training(store, make_dataset(store), base, config, events.append), events


def test_it_trains_once(home: Path, tiny_model: Path) -> None:
    base = resolve(str(tiny_model))
    first, events = train(home, base)
    again, nothing = train(home, base)
    assert first.new
    assert not again.new
    assert again == first.model_copy(update={"new": False})
    assert [e["step"] for e in events if e["event"] == "progress"] == [1, 2]
    assert nothing == []
    folder = Store.open().path(first.uri)
    assert {"adapter_model.safetensors", "adapter_config.json", "training.json"} <= {p.name for p in folder.iterdir()}
    assert Store.open().verify(first.uri) == []
    assert not (home / "work" / "train").exists() or not list((home / "work" / "train").iterdir())
    assert str(home) not in (folder / "adapter_config.json").read_text()
    patient, _ = train(home, base, CONFIG.model_copy(update={"timeout_minutes": 7.0, "checkpoint_steps": 1}))
    assert patient.uri == first.uri  # how long to wait and how often to save is no part of the key
