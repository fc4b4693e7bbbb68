"""`tuneloop up` as a user's command, and what is asked of its servers over HTTP."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openai import OpenAI

from deployments.services.ports import free_port
from deployments.services.prefect_http import api_client
from tests.flows.commands import processes_of, tuneloop


@dataclass
class Stack:
    """The services of a configuration."""

    config: Path
    urls: dict[str, str]
    pids: dict[str, int]
    key: str

    @property
    def api(self) -> str:
        return f"{self.urls['prefect']}/api"

    def client(self, key: str = "") -> OpenAI:
        return OpenAI(base_url=self.urls["gateway"], api_key=key or self.key, max_retries=0)

    def get(self, path: str) -> Any:
        with api_client(self.api) as client:
            return client.get(path).raise_for_status().json()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        with api_client(self.api) as client:
            return client.post(path, json=body).raise_for_status().json()

    def started(self, deployment: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """A new run of a deployment, asked for with `curl`, as the documentation shows it."""
        address = f"{self.api}/deployments/{self.get(f'/deployments/name/{deployment}')['id']}/create_flow_run"
        asked = ["curl", "-sS", "--fail", "--retry", "8", "-X", "POST", address]
        body = ["-H", "content-type: application/json", "-d", json.dumps({"parameters": parameters})]
        done = subprocess.run([*asked, *body], capture_output=True, text=True, check=True)
        return dict(json.loads(done.stdout))

    def runs(self, deployment: str) -> list[dict[str, Any]]:
        """Runs of a deployment, the newest first."""
        wanted = {"id": {"any_": [self.get(f"/deployments/name/{deployment}")["id"]]}}
        return list(self.post("/flow_runs/filter", {"deployments": wanted, "sort": "EXPECTED_START_TIME_DESC"}))

    def ended(self, run: dict[str, Any], seconds: float = 300) -> dict[str, Any]:
        """The final state of a run; its log is in the message where it did not complete."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            state = dict(self.get(f"/flow_runs/{run['id']}")["state"])
            if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
                assert state["type"] == "COMPLETED", f"{state['message']}\n{self.log()}"
                return state
            time.sleep(0.5)
        raise AssertionError(f"the run is still {state}\n{self.log()}")

    def log(self) -> str:
        return (self.config.parent / ".tuneloop" / "logs" / "worker.log").read_text(encoding="utf-8")[-3000:]


@contextmanager
def stack(config: Path) -> Iterator[Stack]:
    """Services on ports that are free, until the end of the block; then no process is left."""
    ports = [word for name in ("prefect", "mlflow", "gateway") for word in (f"--{name}-port", str(free_port()))]
    done = tuneloop("up", str(config), "--json", *ports)
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads(done.stdout)
        services = {s["name"]: s for s in found["services"]}
        urls = {name: s["url"] for name, s in services.items() if s["url"]}
        key = Path(found["key_file"]).read_text(encoding="utf-8").strip()
        yield Stack(config, urls, {name: s["pid"] for name, s in services.items()}, key)
    finally:
        tuneloop("down", str(config))
    assert processes_of(config.parent) == []
