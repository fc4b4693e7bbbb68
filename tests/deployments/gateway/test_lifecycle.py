"""Start, exchange of the champion without a restart, what is refused at start."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from tasks.adapters import api_keys, registry, releases, request_log
from tests.deployments.gateway.conftest import ROOT, gateway
from tests.tiny_release import NAME, champion, register


def test_from_no_champion_over_promotion_to_rollback_without_a_restart(registry_home: Path, tiny_model: Path) -> None:
    with gateway(registry_home) as running:
        running.wait_for(lambda health: health["status"] == "no_champion")
        with pytest.raises(openai.InternalServerError) as early:
            running.client().chat.completions.create(model=NAME, messages=[{"role": "user", "content": "x"}])
        assert (early.value.status_code, early.value.code) == (503, "model_not_ready")
        assert [*running.client().models.list()] == []
        for seed in (1, 2):
            champion(tiny_model, seed)
            running.wait_for(lambda health, seed=seed: health["version"] == seed)
            assert [model.id for model in running.client().models.list()] == [NAME, f"{NAME}@{seed}"]
        releases.rollback(NAME, "a test", "needed")
        running.wait_for(lambda health: health["version"] == 1)
        answer = running.client().chat.completions.create(
            model=NAME, messages=[{"role": "user", "content": "x"}], max_tokens=2
        )
        assert answer.model == f"{NAME}@1"


def test_a_champion_that_cannot_be_loaded_leaves_the_old_one_serving(registry_home: Path, tiny_model: Path) -> None:
    champion(tiny_model, 1)
    with gateway(registry_home) as running:
        running.wait_for(lambda health: health["version"] == 1)
        second = register(tiny_model, 2)
        artifacts = registry_home / "mlflow" / "artifacts" / NAME / second.run_id
        next(artifacts.rglob("adapter_model.safetensors")).write_bytes(b"torn")
        releases.promote(NAME, 2, 1, "a test", "needed")
        health = running.wait_for(lambda health: health["error"] is not None)
        assert (health["status"], health["version"], health["loading_version"]) == ("serving", 1, 2)
        assert "the registered adapter is damaged" in health["error"]


def test_a_pinned_version_without_a_request_log(registry_home: Path, tiny_model: Path) -> None:
    champion(tiny_model, 1)
    register(tiny_model, 2)
    with gateway(registry_home, "--version", "2", "--no-request-log") as running:
        running.wait_for(lambda health: health["status"] == "serving")
        client = running.client()
        assert [model.id for model in client.models.list()] == [f"{NAME}@2"]
        client.chat.completions.create(model=f"{NAME}@2", messages=[{"role": "user", "content": "x"}], max_tokens=2)
        assert request_log.recent(NAME, 1) == ()
        assert registry.served(NAME, "champion") is not None


def started(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deployments.gateway", "--model", NAME, *arguments]
    env = {**os.environ, "TUNELOOP_HOME": str(home)}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)


def test_without_a_key_it_does_not_start(registry_home: Path) -> None:
    result = started(registry_home, "--port", "0")
    assert result.returncode == 50
    assert "the gateway has no key" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_port_in_use_is_a_coded_error(registry_home: Path) -> None:
    key_file = registry_home / "own.key"
    api_keys.ensure_key_file(key_file)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = started(registry_home, "--port", str(taken.getsockname()[1]), "--key-file", str(key_file))
    assert result.returncode == 50
    assert "cannot listen" in result.stderr
    assert "Traceback" not in result.stderr


def test_it_ends_when_its_parent_closes_the_pipe(registry_home: Path) -> None:
    key_file = registry_home / "own.key"
    api_keys.ensure_key_file(key_file)
    command = [sys.executable, "-m", "deployments.gateway", "--model", NAME, "--port", "0"]
    options = ["--key-file", str(key_file), "--die-with-parent"]
    env = {**os.environ, "TUNELOOP_HOME": str(registry_home)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([*command, *options], cwd=ROOT, env=env, text=True, **pipes)
    assert process.stdin is not None
    assert process.stdout is not None
    assert "listening" in process.stdout.readline()
    process.stdin.close()
    assert process.wait(timeout=20) == 129
