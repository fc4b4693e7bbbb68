"""`up` with the real services: Prefect server, MLflow, worker; runs by HTTP; nothing left after `down`."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from deployments.services import control, state
from deployments.services.launch import marked
from deployments.services.plan import AskedPorts
from deployments.services.ports import free_port
from deployments.services.prefect_http import api_client
from deployments.services.prefect_process import api_url
from tasks.errors import EnvironmentUnusable, UsageError

HERE = Path(__file__).parent
PREFECT_YAML = """
deployments:
  - name: local
    entrypoint: trivial_flow.trivial
    description: A trivial flow.
    work_pool: {name: local}
    schedules: [{slug: weekly, cron: "0 3 * * 0", parameters: {reason: weekly schedule}}]
  - name: elsewhere
    entrypoint: trivial_flow.trivial
    work_pool: {name: gpu}
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, control.Up]]:
    """Home and services, started once for this module from a folder of their own."""
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("work place")
    (home / "prefect.yaml").write_text(PREFECT_YAML, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNELOOP_HOME", str(home))
        patch.delenv("PREFECT_API_URL", raising=False)
        for name in ("PREFECT", "MLFLOW"):
            patch.setenv(f"TUNELOOP_{name}_PORT", str(free_port()))
        patch.setenv("PYTHONPATH", str(HERE))
        patch.syspath_prepend(str(HERE))
        patch.chdir(folder)
        try:
            yield home, control.up(prefect_file=home / "prefect.yaml")
        finally:
            control.down()
            assert marked(home) == []


def prefect_url(up: control.Up) -> str:
    return api_url(next(s.port for s in up.services if s.name == "prefect") or 0)


def test_the_services_are_healthy_and_say_what_is_missing(running: tuple[Path, control.Up]) -> None:
    home, up = running
    assert [(s.name, s.state) for s in up.services] == [
        ("prefect", "healthy"), ("mlflow", "healthy"), ("worker", "healthy"),
    ]  # fmt: skip
    assert up.services == control.status()
    assert up.deployments == ("trivial/local",)
    assert any("no gateway" in note for note in up.notes)
    assert all(Path(s.log).is_relative_to(home / "logs") for s in up.services)


def test_a_second_up_changes_nothing(running: tuple[Path, control.Up]) -> None:
    home, up = running
    again = control.up(prefect_file=home / "prefect.yaml")
    assert again == up


def test_everything_listens_on_this_machine_only(running: tuple[Path, control.Up]) -> None:
    home, _ = running
    addresses = {
        connection.laddr.ip
        for process in marked(home)
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}


def test_the_deployment_has_a_form_and_a_paused_schedule(running: tuple[Path, control.Up]) -> None:
    _, up = running
    with api_client(prefect_url(up)) as client:
        found = client.get("/deployments/name/trivial/local").json()
        elsewhere = client.get("/deployments/name/trivial/elsewhere")
    assert found["parameter_openapi_schema"]["definitions"]["Wish"]["properties"]["number"]["default"] == 1
    assert found["enforce_parameter_schema"] is True
    assert [(s["slug"], s["active"]) for s in found["schedules"]] == [("weekly", False)]
    assert elsewhere.status_code == 404


def test_a_run_that_is_created_by_http_is_executed_by_the_worker(
    running: tuple[Path, control.Up], tmp_path: Path
) -> None:
    home, up = running
    target, deadline = tmp_path / "written.json", time.monotonic() + 60
    parameters = {"config": {"target": str(target), "number": 7}, "reason": "by curl"}
    with api_client(prefect_url(up)) as client:
        deployment = client.get("/deployments/name/trivial/local").json()["id"]
        create = f"/deployments/{deployment}/create_flow_run"
        assert client.post(create, json={"parameters": {"config": {"nmber": 1}}}).status_code == 409
        run = client.post(create, json={"parameters": parameters}).json()
        while (state_type := client.get(f"/flow_runs/{run['id']}").json()["state"]["type"]) != "COMPLETED":
            assert state_type not in ("FAILED", "CRASHED"), (home / "logs" / "worker.log").read_text()[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.3)
    folder = str(Path.cwd().resolve())
    assert json.loads(target.read_text()) == {"number": 7, "reason": "by curl", "folder": folder, "home": str(home)}


def test_mlflow_serves_the_database_of_this_home_and_refuses_strange_hosts(running: tuple[Path, control.Up]) -> None:
    home, up = running
    url = next(s.url for s in up.services if s.name == "mlflow")
    found = httpx.post(f"{url}/api/2.0/mlflow/experiments/search", json={"max_results": 5}, timeout=60).json()
    assert found["experiments"][0]["artifact_location"].startswith((home / "mlflow" / "artifacts").as_uri())
    assert (home / "mlflow" / "mlflow.db").is_file()
    assert httpx.get(f"{url}/", headers={"Host": "somewhere.example"}, timeout=60).status_code == 403


def test_a_run_without_the_main_job_registered_is_an_error(running: tuple[Path, control.Up]) -> None:
    from tasks.config import RunConfig

    config = RunConfig.model_validate({"project": "p", "data": {"sources": [{"path": "rows.jsonl"}]}})
    with pytest.raises(EnvironmentUnusable, match="retrain/local is not registered"):
        control.submit_run(config)


def test_a_port_that_is_asked_for_and_busy_leaves_the_services_as_they_are(running: tuple[Path, control.Up]) -> None:
    home, up = running
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        with pytest.raises(EnvironmentUnusable) as caught:
            control.up(ports=AskedPorts(mlflow=busy.getsockname()[1]), prefect_file=home / "prefect.yaml")
    assert f"process {os.getpid()}" in caught.value.why
    assert control.status() == up.services


def test_a_wrong_configuration_starts_nothing(home: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("project: p\ndata: {sources: [{path: rows.jsonl}]}\nprocces: {}\n", encoding="utf-8")
    with pytest.raises(UsageError, match="process"):
        control.up(config)
    assert state.read(home) is None


def test_without_services_nothing_is_there_to_end_or_to_run(home: Path) -> None:
    assert control.status() == ()
    assert control.down().ended == ()


@pytest.mark.usefixtures("running")
def test_services_end_with_a_supervisor_that_is_killed(running: tuple[Path, control.Up]) -> None:
    """Last in this module: nothing runs afterwards."""
    home, _ = running
    supervision = state.read(home)
    assert supervision is not None
    psutil.Process(supervision.pid).kill()
    deadline = time.monotonic() + 15
    # A process that is just ending has no environment to be recognised by any more, and still counts as alive.
    while marked(home) or {s.state for s in control.status()} != {"stopped"}:
        assert time.monotonic() < deadline, [s.state for s in control.status()]
        time.sleep(0.1)
