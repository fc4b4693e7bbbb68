"""A real gateway process that serves a champion on the tiny model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from deployments.services.health import ask, certificates
from tasks.adapters import api_keys
from tasks.adapters.processes import EVENT_PREFIX
from tests.tiny_release import NAME, champion

ROOT = Path(__file__).parents[3]


@dataclass
class Running:
    """A gateway process."""

    url: str
    key: str
    home: Path
    process: subprocess.Popen[str]

    def client(self, **options: Any) -> OpenAI:
        return OpenAI(**{"base_url": f"{self.url}/v1", "api_key": self.key, "max_retries": 0, **options})

    def health(self) -> dict[str, Any]:
        return dict(ask(f"{self.url}/health", 5.0).json())

    def post(self, body: Any, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}"}
        options = {"headers": headers, "timeout": 60, "verify": certificates(), **options}
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, **options)

    def wait_for(self, condition: Callable[[dict[str, Any]], bool], seconds: float = 180) -> dict[str, Any]:
        """Poll /health until it is as wanted."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            health = self.health()
            if condition(health):
                return health
            time.sleep(0.1)
        raise AssertionError(f"the gateway stayed at {health}")


@contextmanager
def gateway(home: Path, *arguments: str) -> Iterator[Running]:
    """Start a gateway of the model in a home, on a free port."""
    key = api_keys.ensure_key_file(home / "keys" / "gateway.key")
    command = [sys.executable, "-m", "deployments.gateway", "--model", NAME, "--port", "0", *arguments]
    env = {**os.environ, "TUNELOOP_HOME": str(home)}
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        announced = json.loads(process.stdout.readline().removeprefix(EVENT_PREFIX))
        yield Running(announced["url"], key, home, process)
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, empty_databases: Path, tiny_model: Path) -> Iterator[Running]:
    """A gateway with a champion, shared by the tests of a module."""
    home = tmp_path_factory.mktemp("gateway") / "home"
    shutil.copytree(empty_databases, home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNELOOP_HOME", str(home))
        champion(tiny_model, 1)
        with gateway(home) as running:
            running.wait_for(lambda health: health["status"] == "serving")
            yield running
