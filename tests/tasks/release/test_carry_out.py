"""Promotion with a real candidate server on the tiny model."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tasks.adapters import registry, release_history
from tasks.adapters.release_history import Champion
from tasks.adapters.state import engine
from tasks.adapters.store import Store
from tasks.adapters.tables import api_keys
from tasks.errors import ReleaseFailed, TuneloopError
from tasks.release.carry_out import hold, plan, promote
from tasks.release.config import ReleaseConfig
from tests.tiny_release import NAME, champion, register

CONFIG = ReleaseConfig(smoke_rows=2)


def left_behind(home: Path) -> list[object]:
    """Processes, notes and keys of candidates."""
    alive = [p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE]
    servers = [p for p in alive if "deployments.gateway" in p.cmdline()]  # other tests' helpers may live on
    notes = [*(home / "processes").glob("*"), *(home / "keys").glob("release-*")]
    with engine().connect() as connection:
        return [*servers, *notes, *connection.execute(api_keys.select()).all()]


def test_a_candidate_that_serves_well_is_promoted(registry_home: Path, tiny_model: Path) -> None:
    model = register(tiny_model, 1)
    decided = plan(model, CONFIG)
    release = promote(model, CONFIG, "tuneloop", decided.text, decided.serving)
    assert (decided.action, release.status, release.model.alias) == ("promote", "promoted", "champion")
    assert release_history.champion(NAME) == Champion(version=1)
    assert plan(model, CONFIG).action == "already_champion"
    assert promote(model, CONFIG, "tuneloop", "again", 1).status == "already_champion"
    assert left_behind(registry_home) == []


def test_a_candidate_that_cannot_start_leaves_the_champion(registry_home: Path, tiny_model: Path) -> None:
    champion(tiny_model, 1)
    model = register(tiny_model, 2, compared_with=1)
    with pytest.raises(ReleaseFailed, match="could not be started") as failed:
        promote(model, ReleaseConfig(startup_seconds=0.3), "tuneloop", "r", 1)
    assert failed.value.exit_code == 60
    assert release_history.champion(NAME) == Champion(version=1)
    assert release_history.history(NAME)[-1].action == "failed"
    assert plan(model, CONFIG).action == "promote"
    assert left_behind(registry_home) == []


def test_a_damaged_candidate_fails_with_its_cause(registry_home: Path, tiny_model: Path) -> None:
    champion(tiny_model, 1)
    model = register(tiny_model, 2, compared_with=1)
    artifacts = registry_home / "mlflow" / "artifacts" / NAME / model.run_id
    next(artifacts.rglob("adapter_model.safetensors")).write_bytes(b"torn")
    with pytest.raises(TuneloopError, match="damaged"):
        promote(model, CONFIG, "tuneloop", "r", 1)
    assert release_history.history(NAME)[-1].action == "failed"
    assert release_history.champion(NAME) == Champion(version=1)


def test_waiting_is_noted_once(registry_home: Path, tiny_model: Path) -> None:
    model = register(tiny_model, 1)
    required = ReleaseConfig(approval="required")
    for _ in range(2):
        assert hold(model, plan(model, required)).status == "waiting_for_approval"
    assert [step.action for step in release_history.history(NAME)] == ["registered", "waiting"]
    assert registry.versions(NAME)[0].alias == "challenger"


def test_a_champion_that_changed_since_the_plan_stays(registry_home: Path, tiny_model: Path) -> None:
    champion(tiny_model, 1)
    model = register(tiny_model, 2, compared_with=1)
    decided = plan(model, CONFIG)
    champion(tiny_model, 3)
    with pytest.raises(ReleaseFailed, match="changed in the meantime"):
        promote(model, CONFIG, "tuneloop", decided.text, decided.serving)
    assert release_history.champion(NAME) == Champion(version=3, previous=1)


def test_without_its_held_out_rows_a_candidate_cannot_be_asked(registry_home: Path, tiny_model: Path) -> None:
    model = register(tiny_model, 1)
    served = registry.served(NAME, 1)
    assert served is not None
    (Store.open().path(served.dataset_uri) / "test.jsonl").unlink()
    with pytest.raises(ReleaseFailed, match="cannot be asked") as failed:
        promote(model, CONFIG, "tuneloop", "r", None)
    assert served.dataset in failed.value.why
    assert release_history.champion(NAME) is None
