"""Commands that only look: doctor, config show, status; and the errors they end with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from deployments.commands.doctor import gemm_gflops
from deployments.commands.run import next_commands
from deployments.environment import prepare_home, use_home
from tasks.contracts import RunOutcome
from tasks.errors import EnvironmentUnusable


def invoke(*arguments: str) -> dict[str, object]:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    return json.loads(done.stdout)


def test_doctor_looks_at_everything(home: Path) -> None:
    seen = invoke("doctor")
    names = {check["name"] for check in seen["checks"]}
    assert {"platform", "python", "memory", "disk", "torch", "prefect", "speed", "base model"} <= names
    assert seen["exit_code"] in (0, 50)


def test_the_product_rate_is_a_rate() -> None:
    assert gemm_gflops(0.05) > 1


def test_status_of_a_home_without_services(home: Path) -> None:
    assert invoke("status")["services"] == []


def test_nothing_to_end(home: Path) -> None:
    assert invoke("down")["ended"] == []


def test_lists_of_an_empty_home(registry_home: Path) -> None:
    assert invoke("data", "list")["versions"] == []
    assert invoke("models", "list", "nobody")["versions"] == []


def test_home_lies_beside_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNELOOP_HOME", raising=False)
    monkeypatch.setenv("PREFECT_HOME", "unused")
    assert use_home(tmp_path / "config.yaml") == tmp_path / ".tuneloop"
    monkeypatch.delenv("TUNELOOP_HOME")


def test_a_file_in_the_way_of_the_home(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("in the way")
    with pytest.raises(EnvironmentUnusable) as caught:
        prepare_home(tmp_path / "home")
    assert "TUNELOOP_HOME" in caught.value.remedy


@pytest.mark.parametrize("status", ["done", "unchanged", "refused", "data_refused", "waiting_for_approval"])
def test_every_ending_names_three_commands(status: str) -> None:
    outcome = RunOutcome(status=status, exit_code=0)
    commands = next_commands(outcome, Path("config.yaml"))
    assert len(commands) == 3
    assert all(command.startswith("tuneloop ") for command in commands)
