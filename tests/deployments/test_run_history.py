"""Pages of Prefect's run history that show an erased version, on a real server."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest

from deployments.embedded import prefect_server
from deployments.run_history import forget_artifacts
from deployments.services.prefect_http import api_client

ADDRESS, OTHER = "ds://proj/main@1.0.0", "ds://proj/main@2.0.0"


@pytest.fixture(autouse=True)
def _own_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


def make(client: httpx.Client, key: str, data: str, description: str) -> None:
    body = {"key": key, "type": "markdown", "data": data, "description": description}
    client.post("/artifacts/", json=body).raise_for_status()


@pytest.mark.long
def test_artifacts_of_erased_versions_go_and_their_text_with_them(home: Path, run_database: Path) -> None:
    shutil.copytree(run_database, home / "prefect")
    with prefect_server(home) as server, api_client(server.api_url) as client:
        for number in range(3):
            make(client, "evaluation", f"my blue lantern {number}", f"Evaluation on {ADDRESS}")
        make(client, "dataset-card", f"`{ADDRESS}` my copper kettle", "card")
        make(client, "evaluation", "a velvet curtain", f"Evaluation on {OTHER}")
    assert forget_artifacts(home, [ADDRESS]) == 4
    assert forget_artifacts(home, [ADDRESS]) == 0
    held = b"".join(path.read_bytes() for path in (home / "prefect").glob("prefect.db*"))
    assert b"lantern" not in held
    assert b"kettle" not in held
    assert b"a velvet curtain" in held


def test_a_home_without_run_history_is_left_alone(home: Path) -> None:
    assert forget_artifacts(home, [ADDRESS]) == 0
    assert list(home.iterdir()) == []
