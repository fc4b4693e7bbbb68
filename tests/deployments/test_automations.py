"""Drift through a real Prefect server: event, automation, run of the retrain deployment with its parameters."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect import Flow, flow
from prefect.client.orchestration import get_client
from prefect.utilities.callables import parameter_schema

from deployments.automations import DRIFT_AUTOMATION, RETRAIN_DEPLOYMENT, apply_automations
from deployments.services.health import ask as ask_for
from deployments.services.ports import free_port
from deployments.services.prefect_client import reporting_to
from deployments.services.prefect_http import api_client
from deployments.services.prefect_process import api_url, full_server_environment, server_command
from tasks.adapters import registry, release_history, releases, request_log
from tasks.adapters.request_log import LoggedRequest
from tasks.config import RunConfig
from tasks.contracts import Message
from tasks.errors import EnvironmentUnusable, UsageError
from tasks.release.task import announce
from tests.tiny_release import CONFIG as PARAMETERS
from tests.tiny_release import NAME, champion, make_evidence, register

ROOT = Path(__file__).parents[2]
BIKES = "brake chain wheel pedal saddle helmet tyre gear lock rental battery motor charger rack pump light"
COFFEE = "espresso roast grinder crema beans filter milk kettle cup aroma barista dripper decaf latte brew"
CONFIG = RunConfig.model_validate(
    {
        "project": NAME,
        "data": {"sources": [{"path": 'it\'s {{ odd }} "ünïcode" <&>.jsonl'}]},
        "monitor": {"p_value": 0.02},
    }
)


def texts(words: str, count: int, seed: int) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choices(words.split(), k=chance.randint(5, 12))) for _ in range(count)]


def log(prompts: list[str]) -> None:
    for prompt in prompts:
        request_log.append(
            LoggedRequest(
                id=uuid.uuid4().hex,
                at=datetime.now(UTC),
                model=NAME,
                version=1,
                answer="yes",
                prompt_tokens=1,
                prompt=(Message(role="user", content=prompt),),
                completion_tokens=1,
                milliseconds=1,
            )
        )


@pytest.fixture(scope="module")
def prefect_home(
    tmp_path_factory: pytest.TempPathFactory, empty_databases: Path, run_database: Path
) -> Iterator[tuple[Path, str]]:
    """A home with a running Prefect server (all services on); its API's address."""
    home = tmp_path_factory.mktemp("prefect") / "home"
    shutil.copytree(empty_databases, home)
    shutil.copytree(run_database, home / "prefect")
    port = free_port()
    env = {**os.environ, **full_server_environment(home, port)}
    with (home / "server.log").open("w") as out:
        process = subprocess.Popen([*server_command(port)], env=env, cwd=home, stdout=out, stderr=out)
        try:
            _wait(api_url(port), process)
            with pytest.MonkeyPatch.context() as patch, reporting_to(home, api_url(port)):
                patch.setenv("TUNELOOP_HOME", str(home))
                yield home, api_url(port)
        finally:
            process.terminate()
            process.wait(timeout=30)


@pytest.fixture(scope="module")
def served(prefect_home: tuple[Path, str], tiny_model: Path) -> str:
    """The API's address, of a home in which version 1 serves."""
    champion(tiny_model, 1, train=texts(BIKES, 120, 1), test=texts(BIKES, 40, 2))
    return prefect_home[1]


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if ask_for(f"{url}/health", 5.0).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise AssertionError("the Prefect server did not start")


def ask(url: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """What the API answers to a GET, or to a POST of a body."""
    with api_client(url) as client:
        return (client.get(path) if body is None else client.post(path, json=body)).json()


@flow(name="retrain")
def retrain(config: RunConfig, reason: str = "") -> None:
    """Has the parameters of the main job."""


def deployed(found: Flow[..., Any], entrypoint: str = "") -> str:
    """Id of a new deployment `<flow>/local`, which checks its parameters.

    Like those that `tuneloop up` registers it works in a folder as it is: with `path` each run would copy that folder.
    """
    schema = parameter_schema(found).model_dump_for_openapi()
    with get_client(sync_client=True) as client:
        made = client.create_deployment(
            client.create_flow(found),
            "local",
            entrypoint=entrypoint,
            parameter_openapi_schema=schema,
            enforce_parameter_schema=True,
            pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}],
        )
    return str(made)


def retrain_runs(url: str) -> list[dict[str, Any]]:
    """Flow runs of the retrain deployment."""
    deployment = ask(url, f"/deployments/name/{RETRAIN_DEPLOYMENT}")["id"]
    body = {"deployments": {"id": {"any_": [deployment]}}}
    return list(ask(url, "/flow_runs/filter", body))


def test_drift_starts_a_retraining_and_ordinary_requests_start_nothing(served: str) -> None:
    from flows.check_drift import check_drift

    url = served
    with pytest.raises(EnvironmentUnusable, match="not registered"):
        apply_automations("retrain/nowhere")
    deployed(retrain)
    assert apply_automations() == apply_automations() == (DRIFT_AUTOMATION,)
    automations = ask(url, "/automations/filter", {})
    assert [(a["name"], a["enabled"]) for a in automations] == [(DRIFT_AUTOMATION, True)]

    log(texts(BIKES, 35, 3))
    assert not check_drift(CONFIG).drifted
    log(texts(COFFEE, 45, 4))
    report = check_drift(CONFIG)
    assert report.drifted
    run = _first_run(url)
    assert RunConfig.model_validate(run["parameters"]["config"]) == CONFIG
    assert run["parameters"]["reason"].startswith(f"requests to {NAME} drifted: 80 requests differ")
    time.sleep(2)
    assert len(retrain_runs(url)) == 1
    _assert_artifacts(url)


def _first_run(url: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if runs := retrain_runs(url):
            return runs[0]
        time.sleep(0.3)
    raise AssertionError("the automation started nothing")


def _assert_artifacts(url: str) -> None:
    artifacts = ask(url, "/artifacts/filter", {})
    found = [a["data"] for a in artifacts if a["key"] == "drift-support-desk"]
    assert len(found) == 2
    assert any("espresso" in text for text in found)


def test_the_release_doors_report_to_prefect(served: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.release import release

    url = served
    model = register(tiny_model, 7, compared_with=1)
    waiting = CONFIG.model_copy(update={"release": CONFIG.release.model_copy(update={"approval": "required"})})
    assert release(waiting, model.version).status == "waiting_for_approval"
    monkeypatch.setenv("TUNELOOP_GATEWAY_URL", "http://127.0.0.1:8800")
    assert release(CONFIG, model.version).status == "promoted"
    assert release(CONFIG, model.version).status == "already_champion"
    artifacts = ask(url, "/artifacts/filter", {})
    assert any("8800" in str(a["data"]) for a in artifacts if str(a["key"]).startswith("served-"))
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        body = {"filter": {"event": {"name": ["tuneloop.release.promoted"]}}}
        events = ask(url, "/events/filter", body)["events"]
        if events:
            break
        time.sleep(0.3)
    assert events[0]["payload"]["version"] == model.version
    assert events[0]["payload"]["before"] == 1
    assert _asked(url, model.version) == 1


@pytest.mark.long
def test_a_release_deployment_suspends_for_the_form_and_carries_out_the_decision(served: str, tiny_model: Path) -> None:
    from flows.release import release

    url = served
    model = register(tiny_model, 8)
    before = release_history.champion(NAME)
    required = CONFIG.model_copy(update={"release": CONFIG.release.model_copy(update={"approval": "required"})})
    deployment = deployed(release, "flows.release.release")
    parameters = {"config": required.model_dump(mode="json"), "version": model.version}
    body = {"parameters": parameters, "state": {"type": "PENDING"}}
    run = ask(url, f"/deployments/{deployment}/create_flow_run", body)["id"]
    assert _executed(url, run) == "Suspended"
    assert release(required, model.version).status == "waiting_for_approval"
    assert _asked(url, model.version) == 0  # a form for it is open
    assert registry.versions(NAME)[model.version - 1].alias == "challenger"
    answers = {"promote": False, "reason": "wrong tone", "decided_by": "ann"}
    resumed = ask(url, f"/flow_runs/{run}/resume", {"run_input": answers})
    assert resumed.get("status") == "ACCEPT", resumed
    assert _executed(url, run) == "Completed"
    last = release_history.history(NAME)[-1]
    assert (last.action, last.version, last.actor, last.reason) == ("rejected", model.version, "ann", "wrong tone")
    assert release_history.champion(NAME) == before


def _asked(url: str, version: int) -> int:
    """How often a person was asked about a version; waits until an event that was emitted later is there."""
    mark = uuid.uuid4().hex
    announce("mark", NAME, version, None, "a test", mark)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        body = {"filter": {"event": {"prefix": ["tuneloop.release."]}}}
        events = ask(url, "/events/filter", body)["events"]
        if any(event["payload"].get("reason") == mark for event in events):
            asked = [event["payload"]["version"] for event in events if event["event"] == "tuneloop.release.waiting"]
            return asked.count(version)
        time.sleep(0.3)
    raise AssertionError("an event that was emitted did not come")


def _executed(url: str, run: str) -> str:
    """Execute a run as a worker does; the name of the state it ends in."""
    subprocess.run([sys.executable, "-m", "prefect", "flow-run", "execute", run], cwd=ROOT, check=False)
    return str(ask(url, f"/flow_runs/{run}")["state"]["name"])


def test_registering_through_the_doors_keeps_the_first_comparison(served: str, tiny_model: Path) -> None:
    from tasks.register import task as doors

    url = served
    serving = release_history.champion(NAME)
    assert serving is not None
    evidence = make_evidence(tiny_model, 9)
    report = evidence.report.model_copy(update={"champion_version": serving.version})
    told = (evidence.trained, evidence.dataset, report, evidence.decision, PARAMETERS)

    @flow
    def registering() -> None:
        model = doors.register(NAME, *told)
        assert (model.new, model.alias) == (True, "challenger")
        assert registry.registered(NAME, evidence.trained.adapter_digest) == model.model_copy(update={"new": False})
        assert doors.registered_version(NAME, model.version).adapter_digest == model.adapter_digest
        releases.promote(NAME, model.version, serving.version, "a test", "needed")
        compared = doors.champion(NAME, evidence.trained.adapter_digest)
        assert compared is not None
        assert compared.version == serving.version
        now = doors.champion(NAME, "another adapter")
        assert now is not None
        assert now.version == model.version
        assert not doors.register(NAME, *told).new
        with pytest.raises(UsageError, match="no version 99"):
            doors.registered_version(NAME, 99)

    registering()
    artifacts = ask(url, "/artifacts/filter", {})
    assert any("## Gate: passed" in str(a["data"]) for a in artifacts if a["key"] == "model-card-support-desk")


def test_importing_the_module_loads_nothing_heavy() -> None:
    heavy = "('torch', 'mlflow', 'sklearn', 'transformers')"
    code = f"import sys, deployments.automations, flows.check_drift; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
