"""Which services a request stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.config_file import load_config
from deployments.services.plan import AskedPorts, plan
from deployments.services.spec import Ports, Request, services
from tasks.config import RunConfig


def request(home: Path, **changed: object) -> Request:
    ports = Ports(prefect=4201, worker=4202, mlflow=5001, gateway=8801)
    values = {"home": str(home), "working_directory": str(home), "model_name": "desk", "ports": ports, **changed}
    return Request.model_validate(values)


def test_all_four_services_listen_on_this_machine_only(home: Path) -> None:
    made = services(request(home))
    assert [s.name for s in made] == ["prefect", "mlflow", "worker", "gateway"]
    for service in made:
        assert service.health_url.startswith("http://127.0.0.1:")
        assert "0.0.0.0" not in service.command
        assert Path(service.log).parent == home / "logs"
    worker, gateway = made[2], made[3]
    assert worker.needs == ("prefect",)
    assert worker.environment["PREFECT_API_URL"] == "http://127.0.0.1:4201/api"
    assert worker.environment["TUNELOOP_MLFLOW_UI_URL"] == "http://127.0.0.1:5001"
    assert worker.environment["TUNELOOP_GATEWAY_URL"] == "http://127.0.0.1:8801"
    assert gateway.command[1:] == ("-m", "deployments.gateway", "--model", "desk", "--port", "8801")
    assert set(gateway.ready_states) == {"serving", "no_champion"}


def test_telemetry_is_off_and_the_database_is_the_one_of_embedded_runs(home: Path) -> None:
    prefect, mlflow, *_ = services(request(home))
    assert prefect.environment["PREFECT_HOME"] == str(home / "prefect")
    assert prefect.environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert prefect.environment["DO_NOT_TRACK"] == mlflow.environment["DO_NOT_TRACK"] == "true"
    assert mlflow.environment["_MLFLOW_SERVER_FILE_STORE"] == f"sqlite:///{home}/mlflow/mlflow.db"


def test_without_a_configuration_there_is_no_gateway_and_it_is_said(home: Path) -> None:
    wanted, notes = plan(home, None, AskedPorts())
    assert [s.name for s in services(wanted)] == ["prefect", "mlflow", "worker"]
    assert wanted.working_directory == str(Path.cwd())
    assert any("no gateway" in note for note in notes)
    assert any("schedules are paused" in note for note in notes)


def test_a_configuration_names_the_model_and_the_folder_of_runs(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("project: desk\ndata: {sources: [{path: rows.jsonl}]}\n", encoding="utf-8")
    loaded = load_config(file)
    assert isinstance(loaded.config, RunConfig)
    wanted, _ = plan(home, loaded, AskedPorts())
    assert (wanted.model_name, wanted.working_directory) == ("desk", str(tmp_path))
    assert wanted.config_path == str(file)


def test_an_mlflow_server_elsewhere_is_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELOOP_MLFLOW_URL", "https://mlflow.example")
    wanted, notes = plan(home, None, AskedPorts())
    assert [s.name for s in services(wanted)] == ["prefect", "worker"]
    assert any("https://mlflow.example" in note for note in notes)
