"""A training in a cluster: the real trainer under the real torchrun, as the pod's own command starts it."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters import kubernetes_jobs, kubernetes_logs
from tasks.adapters.kubernetes_jobs import KubernetesJobs
from tasks.adapters.processes import EVENT_PREFIX
from tasks.errors import BudgetRefused, EnvironmentUnusable, UsageError
from tasks.settings import Settings
from tasks.train.attempts import LocalLaunch
from tasks.train.engines.kubernetes_launch import KubernetesLaunch, read_template, wanted_of
from tasks.train.engines.manifest import render
from tasks.train.engines.where import launch_for
from tasks.train.failures import CAPACITY, COST, EVICTED, IMAGE, OOM_KILLED, TIMEOUT, Evidence, classify
from tasks.train.supervise import limits_of, supervise
from tasks.train.worker import RESULT, Result
from tests.tasks.train.training_rows import make_job

pytest.importorskip("kubernetes")
from tests.tasks.adapters.kubernetes_double import Double, Script, Status, cluster, ended, run_command, running, waiting

TEMPLATE = Path(__file__).resolve().parents[4] / "k8s" / "trainer-job.yaml"


def settings(**changed: Any) -> Settings:
    return Settings(trainer_template=TEMPLATE, **changed)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_jobs, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(kubernetes_logs, "REST_SECONDS", 0.05)
    monkeypatch.setattr(kubernetes_jobs, "WAITING_PATIENCE_SECONDS", 0.1)


@pytest.mark.long
def test_a_training_in_the_cluster(
    home: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TEMPLATE.parents[1]))
    job = make_job(tmp_path, tiny_model)
    events: list[dict[str, Any]] = []
    with cluster(run_command) as (double, configuration):
        launch = KubernetesLaunch(tmp_path / "train.log", settings(), KubernetesJobs("tuneloop", configuration))
        evidence = launch(job, 120, events.append)
    assert evidence.exit_code == 0, (tmp_path / "train.log").read_text()
    assert Result.model_validate_json((job.work / RESULT).read_text()).steps == 6
    assert [e["step"] for e in events if e["event"] == "progress"] == [1, 2, 3, 4, 5, 6]
    assert double.created[0]["metadata"]["name"] == f"tuneloop-train-{'f' * 12}-1"
    assert double.deleted == [f"tuneloop-train-{'f' * 12}-1"]


def evidence_of(tmp_path: Path, tiny_model: Path, script: Script, seconds: float = 30) -> Evidence:
    with cluster(script) as (_, configuration):
        launch = KubernetesLaunch(tmp_path / "train.log", settings(), KubernetesJobs("tuneloop", configuration))
        return launch(make_job(tmp_path, tiny_model), seconds, lambda _: None)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (ended(137, "OOMKilled"), OOM_KILLED),
        ({"phase": "Failed", "reason": "Evicted", "message": "low on resource: ephemeral-storage"}, EVICTED),
        (waiting("ErrImagePull"), IMAGE),
    ],
)
def test_the_evidence_tells_the_failure(home: Path, tiny_model: Path, tmp_path: Path, status: Any, code: str) -> None:
    assert classify(evidence_of(tmp_path, tiny_model, lambda _: (status, "started"))).code == code
    log = tmp_path / "train.log"
    assert (log.is_file() and "started" in log.read_text()) == (code != IMAGE)  # without an image nothing is printed


def test_no_place_is_not_too_little_time(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    nowhere = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    found = evidence_of(tmp_path, tiny_model, lambda _: ({"phase": "Pending", "conditions": [nowhere]}, ""), 0.3)
    assert classify(found).code == CAPACITY


def test_the_clusters_own_deadline_is_the_time_limit(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    """It runs from the job's start and mostly ends before the launcher's own clock."""
    with cluster(lambda _: (ended(143), "")) as (double, configuration):
        double.failed_reason = "DeadlineExceeded"
        launch = KubernetesLaunch(tmp_path / "train.log", settings(), KubernetesJobs("tuneloop", configuration))
        found = classify(launch(make_job(tmp_path, tiny_model), 30, lambda _: None))
    assert (found.code, found.where) == (TIMEOUT, "train.timeout_minutes")


def test_the_clusters_deadline_without_a_place_is_lack_of_a_machine(
    home: Path, tiny_model: Path, tmp_path: Path
) -> None:
    nowhere = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    with cluster(lambda _: ({"phase": "Pending", "conditions": [nowhere]}, "")) as (double, configuration):
        double.once_seen = lambda: double.pass_deadline(f"tuneloop-train-{'f' * 12}-1")
        launch = KubernetesLaunch(tmp_path / "train.log", settings(), KubernetesJobs("tuneloop", configuration))
        assert classify(launch(make_job(tmp_path, tiny_model), 30, lambda _: None)).code == CAPACITY


def test_the_pod_that_replaced_an_evicted_one_tells_the_failure(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    gone = {"phase": "Failed", "reason": "Evicted", "message": "preempted"}
    with cluster(lambda _: (gone, "")) as (double, configuration):

        def evicted_and_replaced(_pod: dict[str, Any]) -> tuple[Status, str]:
            (job,) = double.jobs
            double.add_pod(job, 0, "later", ended(137, "OOMKilled"), second=9)
            return gone, ""

        double.script = evicted_and_replaced
        launch = KubernetesLaunch(tmp_path / "train.log", settings(), KubernetesJobs("tuneloop", configuration))
        evidence = launch(make_job(tmp_path, tiny_model), 30, lambda _: None)
    assert classify(evidence).code == OOM_KILLED
    assert evidence.exit_code == 137


def test_the_first_attempt_ends_when_its_money_is_spent(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    """What the machine costs only the trainer knows; it says so once and is silent then."""
    job = make_job(tmp_path, tiny_model, max_cost=0.02, timeout_minutes=0.25)
    said = EVENT_PREFIX + json.dumps({"event": "estimate", "price_per_hour": 72.0})
    with cluster(lambda _: (running(), said)) as (double, configuration):
        launch = KubernetesLaunch(tmp_path / "train.log", settings(), KubernetesJobs("tuneloop", configuration))
        began = time.monotonic()
        with pytest.raises(BudgetRefused, match="cost more") as caught:
            supervise(job, launch, lambda _: None, limits_of(job))
        spent = time.monotonic() - began
    assert caught.value.code == COST
    assert 1.0 <= spent < 10.0
    assert double.deleted == [f"tuneloop-train-{'f' * 12}-1"]


def test_what_an_attempt_asks_for(tiny_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, tiny_model, micro_batch_rows=1, processes=4)
    wanted = wanted_of(job, Path("/job.json"), 60.4, settings(trainer_gpus_per_node=2, trainer_image="mine"), 3)
    assert (wanted.nodes, wanted.per_node, wanted.image, wanted.seconds) == (2, 2, "mine", 60)
    with pytest.raises(UsageError, match="cannot be spread"):
        wanted_of(job, Path("/job.json"), 60, settings(trainer_gpus_per_node=3), 1)


def test_the_settings_say_where(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(launch_for(home, tmp_path / "log"), LocalLaunch)
    monkeypatch.setenv("TUNELOOP_TRAINER", "kubernetes")
    monkeypatch.setenv("TUNELOOP_TRAINER_TEMPLATE", str(tmp_path / "missing.yaml"))
    with pytest.raises(UsageError, match="cannot be read"):
        launch_for(home, tmp_path / "log")


def test_a_template_that_is_no_job(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("kind: Pod\n")
    with pytest.raises(UsageError, match="no Kubernetes Job"):
        read_template(tmp_path / "x.yaml")


def others_at_start(double: Double, *endings: Status) -> tuple[list[list[str]], Script]:
    """A script that ends pods in turn; for each one the pods that were there already when it was started."""
    seen: list[list[str]] = []
    left = list(endings)

    def script(_pod: dict[str, Any]) -> tuple[Status, str]:
        seen.append(sorted(double.pods))
        return left.pop(0), ""

    return seen, script


def test_a_trainer_that_a_killed_launcher_left_is_ended_first(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    """Its second attempt is still at work: a new launcher begins to count at one and must not train beside it."""
    job, request = make_job(tmp_path, tiny_model), tmp_path / "job.json"
    with cluster(lambda _: (running(), "")) as (double, configuration):
        jobs = KubernetesJobs("tuneloop", configuration)
        template = read_template(TEMPLATE)
        jobs.create(render(template, wanted_of(job, request, 60, settings(), 2)))
        other = job.model_copy(update={"key": "e" * 64})
        jobs.create(render(template, wanted_of(other, request, 60, settings(), 1)))
        double.lingers = 3
        seen, double.script = others_at_start(double, ended(0))
        evidence = KubernetesLaunch(tmp_path / "train.log", settings(), jobs)(job, 30, lambda _: None)
    assert evidence.exit_code == 0
    assert seen == [[f"tuneloop-train-{'e' * 12}-1-0-abcde"]]  # another training is left alone
    assert double.deleted == [f"tuneloop-train-{'f' * 12}-2", f"tuneloop-train-{'f' * 12}-1"]


def test_the_next_attempt_waits_for_the_pods_of_the_last(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, tiny_model)
    with cluster(lambda _: (ended(1), "")) as (double, configuration):
        double.lingers = 3
        seen, double.script = others_at_start(double, ended(137), ended(0))
        launch = KubernetesLaunch(tmp_path / "train.log", settings(), KubernetesJobs("tuneloop", configuration))
        assert [launch(job, 30, lambda _: None).exit_code for _ in range(2)] == [137, 0]
    assert seen == [[], []]


def test_a_pod_that_does_not_end_is_waited_for_only_so_long(
    home: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node is lost: nobody can say whether the trainer on it still writes into the folder."""
    monkeypatch.setattr(kubernetes_jobs, "GONE_PATIENCE_SECONDS", 0.1)
    job = make_job(tmp_path, tiny_model)
    with cluster(lambda _: (ended(137), "")) as (double, configuration):
        double.lingers = math.inf
        launch = KubernetesLaunch(tmp_path / "train.log", settings(), KubernetesJobs("tuneloop", configuration))
        launch(job, 30, lambda _: None)
        with pytest.raises(EnvironmentUnusable, match="still there") as caught:
            launch(job, 30, lambda _: None)
    assert len(double.created) == 1
    assert f"tuneloop-train-{'f' * 12}-1-0-abcde" in caught.value.where
    assert f"kubectl -n tuneloop delete pod -l tuneloop.io/training={'f' * 12} --force" in caught.value.remedy
