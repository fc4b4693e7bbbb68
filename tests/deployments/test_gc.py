"""`tuneloop gc` on a home with two dataset versions from a real run of the data stages, and a registered model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from deployments.cli import app
from tasks.adapters import audit, ledger, registry
from tasks.adapters.store import MARKER, Store
from tasks.contracts import Record
from tasks.errors import EnvironmentUnusable
from tasks.version.verify import verify
from tests.tasks.test_data_stages import prepare
from tests.tiny_release import register

ROOT = Path(__file__).parents[2]
DAY = 86_400
WORDS = ("harbour", "lantern", "copper", "velvet", "granite", "willow", "saffron", "orchard", "falcon", "marble")


def gc(*options: str) -> Result:
    return CliRunner().invoke(app, ["gc", *options])


def said(*options: str) -> dict[str, Any]:
    done = gc(*options, "--json")
    assert done.exit_code == 0, done.exception
    return dict(json.loads(done.stdout))


def age(home: Path, days: int) -> None:
    """Everything is so much older."""
    for path in [*(home / "store").rglob("*"), *(home / "locks").iterdir(), *(home / "work").rglob("*")]:
        os.utime(path, (path.stat().st_mtime - days * DAY,) * 2)


def write(folder: Path, rows: int) -> None:
    folder.mkdir(exist_ok=True)
    made = (
        {"prompt": " ".join(WORDS[n // 10**place % 10] for place in range(4)) + f" {n}", "completion": WORDS[n % 10]}
        for n in range(0, rows * 37, 37)
    )
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made) + "{broken\n")


class Trained(Record):
    """The part of a training's record that says which adapter it is."""

    adapter_digest: str


def trained(adapter_digest: str, key: str) -> None:
    """The output of a training in the store."""

    def make(folder: Path) -> Trained:
        (folder / "adapter_model.safetensors").write_bytes(b"weights")
        return Trained(adapter_digest=adapter_digest)

    Store.open().produce("train", key, Trained, make)


def stages(store: Store) -> dict[str, int]:
    uris = [uri.removeprefix("store://").split("/")[0] for uri in store.outputs()]
    return {stage: uris.count(stage) for stage in sorted(set(uris))}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, empty_databases: Path, tiny_model: Path) -> Path:
    """The folder of the home and of its data, a month after the last run."""
    folder = tmp_path_factory.mktemp("used")
    home = folder / "home"
    shutil.copytree(empty_databases, home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNELOOP_HOME", str(home))
        for rows in (80, 120):
            write(folder / "data", rows)
            prepare(folder / "data", home, tiny_model)
            age(home, 1)
        trained(register(tiny_model, 1).adapter_digest, "passed")
        trained("e" * 64, "refused")
    age(home, 30)
    return folder


@pytest.fixture
def used(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("TUNELOOP_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_what_nothing_refers_to_goes_and_every_version_stays_whole(
    used: Path, tmp_path: Path, tiny_model: Path
) -> None:
    store = Store.open()
    before, versions = stages(store), ledger.entries()
    assert before["process"] == before["validate"] == before["ingest"] == 2
    freed = said()
    gone = {item["uri"] for item in freed["outputs"]}
    assert freed["bytes"] == sum(item["bytes"] for item in freed["outputs"]) > 0
    assert stages(store) == {"train": 1, "validate": 1, "version": 3}
    assert not gone & set(store.outputs())
    assert (store.path("store://train/passed") / "adapter_model.safetensors").is_file()
    assert "store://train/refused" in gone
    for entry in versions:
        assert verify(entry.address, store) == []
    assert CliRunner().invoke(app, ["data", "quarantine", "list"]).exit_code == 0
    assert registry.served("support_desk", 1) is not None
    assert said()["status"] == "unchanged"
    again = prepare(tmp_path / "data", used, tiny_model)
    assert (again.address, again.new) == (versions[-1].address, False)


def test_a_dry_run_says_the_same_and_changes_nothing(used: Path) -> None:
    files = {path: path.stat().st_mtime for path in (used / "store").rglob("*")}
    plan = said("--dry-run")
    assert "process" in gc("--dry-run").stdout
    assert files == {path: path.stat().st_mtime for path in (used / "store").rglob("*")}
    assert [entry.action for entry in audit.entries() if entry.action.startswith("gc")] == []
    assert {item["why"] for item in plan["outputs"]} == {"nothing refers to it"}
    assert said()["outputs"] == plan["outputs"]


def test_what_was_used_lately_stays(used: Path, tmp_path: Path, tiny_model: Path) -> None:
    """A run that finds everything makes nothing; it has used the newer outputs all the same."""
    prepare(tmp_path / "data", used, tiny_model)
    freed = said()
    gone = [item["uri"].removeprefix("store://").split("/")[0] for item in freed["outputs"]]
    assert sorted(set(gone) - {"train"}) == ["document", "ingest", "process", "validate"]
    assert stages(Store.open())["process"] == 1
    assert len(said("--unused-days", "0")["outputs"]) == 3


def test_leftovers_of_attempts_that_ended_go_when_they_are_old(used: Path) -> None:
    for name in ("old", "fresh"):
        for folder in (used / "work" / "train" / name / "checkpoints", used / "work" / "process" / name):
            folder.mkdir(parents=True)
            (folder / "part").write_bytes(b"x" * 1000)
        (used / "work" / "train" / f"{name}.job.json").write_text("{}")
    torn = used / "store" / "stages" / "process" / "torn"
    torn.mkdir()
    (torn / "rows.jsonl").write_text("{}")
    age(used, 10)
    for path in (used / "work" / "process" / "fresh" / "part", used / "work" / "train" / "fresh" / "checkpoints/part"):
        os.utime(path)
    freed = said()
    assert [item["path"] for item in freed["leftovers"]] == ["work/process/old", "work/train/old"]
    assert "was never finished" in {item["why"] for item in freed["outputs"]}
    assert not torn.exists()
    left = sorted(path.name for path in (used / "work").glob("*/*") if path.parent.name in ("process", "train"))
    assert left == ["fresh", "fresh", "fresh.job.json"]


def test_nothing_is_freed_while_another_process_uses_the_store(used: Path) -> None:
    script = "from tasks.adapters.store import Store; Store.open(); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        before = stages(Store.open())
        refused = gc()
        assert isinstance(refused.exception, EnvironmentUnusable)
        assert said("--dry-run")["bytes"] > 0
        assert stages(Store.open()) == before
        other.communicate("\n")
    assert said()["status"] == "done"


def test_it_is_in_the_audit_log_and_one_that_was_killed_is_finished_by_the_next(used: Path) -> None:
    store = Store.open()
    killed = next(uri for uri in store.outputs() if uri.startswith("store://process/"))
    (store.path(killed) / MARKER).unlink()
    (used / "locks" / f"process-{killed.rsplit('/', 1)[1][:32]}.lock").touch()
    freed = said()
    assert killed in {item["uri"] for item in freed["outputs"]}
    begun, ended = [entry for entry in audit.entries() if entry.action.startswith("gc.")]
    assert (begun.action, begun.details["process"], ended.details["bytes"]) == ("gc.started", 2, freed["bytes"])
    assert ended.details["started"] == begun.seq
    assert audit.verify() == []
