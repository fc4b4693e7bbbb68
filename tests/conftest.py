"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import os
import pickle
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.threads import thread_environment
from tests.tiny_model import make_tiny_model

os.environ.update(thread_environment())  # before torch is imported anywhere: tests share the machine's cores too
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
gc.set_threshold(100_000)  # files are collected while all libraries are loaded: 700, the default, cost seconds of it


# Files whose tests take longest: they start first, so that no worker is left alone with them at the end.
_LONGEST = (
    "flows/test_retrain.py", "deployments/test_automations.py", "flows/test_interruptions.py",
    "examples/test_support_desk_outcomes.py", "tasks/train/engines/test_kubernetes_launch.py",
    "tasks/train/engines/test_launch.py", "tasks/test_data_stages.py", "flows/test_bad_input.py",
    "tasks/train/test_chaos.py", "tasks/similarity/test_leaks.py", "deployments/runs/test_cancel.py",
    "flows/test_sweep.py", "deployments/test_estimate_command.py", "tasks/train/engines/test_fsdp2.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, the others in their order."""
    folder = Path(__file__).parent
    if gone := [name for name in _LONGEST if not (folder / name).is_file()]:
        raise pytest.UsageError(f"tests/conftest.py puts files first that do not exist: {', '.join(gone)}")
    rank = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.relative_to(folder).as_posix(), len(rank)))


@pytest.fixture(autouse=True, scope="module")
def objects_set_aside() -> None:
    """What is in memory when a file's tests begin stays out of garbage collection.

    Every trainer that is made collects twice; among the objects of all libraries that took a fifth of the time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def cards_drawn_once() -> Iterator[None]:
    """Hundreds of versions are made of a few sets of rows: a card's image that was drawn is not drawn again.

    The same numbers give the same bytes, which tests/tasks/version/test_card.py sees with the function itself.
    """
    from tasks.version import card, picture

    drawn: dict[bytes, bytes] = {}

    def once(*numbers: Any) -> bytes:
        key = pickle.dumps(numbers)
        if key not in drawn:
            drawn[key] = picture.picture(*numbers)
        return drawn[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(card, "picture", once)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """In CI, an acceptance test that is skipped has failed."""
    report = yield
    if report.skipped and os.environ.get("CI") and item.get_closest_marker("acceptance"):
        report.outcome, report.longrepr = "failed", f"an acceptance test was skipped in CI: {report.longrepr}"
    return report


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty TUNELOOP_HOME for this test."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("TUNELOOP_HOME", str(folder))
    monkeypatch.delenv("TUNELOOP_MODELS_DIR", raising=False)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random model with tokenizer and chat template."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def teachable_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny model whose adapter can learn a short answer in seconds."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "teachable", embedding_scale=6.0)


@pytest.fixture(scope="session")
def empty_databases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a home whose model registry and state database were set up, which takes seconds, and are empty."""
    from tasks.adapters import registry_client, release_history

    folder = tmp_path_factory.mktemp("databases") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNELOOP_HOME", str(folder))
        registry_client.client()
        release_history.champion("none")
    return folder


@pytest.fixture(scope="session")
def run_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder HOME/prefect of a home whose run database was migrated, which takes seconds, and is empty.

    The processes of one test run share it.
    """
    from deployments.embedded import prefect_server
    from tasks.adapters.claim import claim

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    home, finished = shared / "run-database", shared / "run-database.finished"
    with claim(shared / "run-database.lock", "the empty run database"), pytest.MonkeyPatch.context() as patch:
        if not finished.exists():
            patch.delenv("PREFECT_API_URL", raising=False)
            with prefect_server(home):
                pass
            finished.touch()
    return home / "prefect"


@pytest.fixture(scope="module")
def prefect_for_doors(tmp_path_factory: pytest.TempPathFactory, run_database: Path) -> Iterator[None]:
    """A real Prefect server, for the tests of a stage's doors."""
    from deployments.embedded import prefect_server

    home = tmp_path_factory.mktemp("prefect")
    shutil.copytree(run_database, home / "prefect")
    with prefect_server(home):
        yield


@pytest.fixture
def registry_home(home: Path, empty_databases: Path) -> Path:
    """A TUNELOOP_HOME with an empty model registry and an empty state database."""
    shutil.copytree(empty_databases, home, dirs_exist_ok=True)
    return home
