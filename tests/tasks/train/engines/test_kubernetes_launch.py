"""A training in a cluster: the real trainer under the real torchrun, as the pod's own command starts it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.adapters import kubernetes_jobs
from tasks.adapters.kubernetes_jobs import KubernetesJobs
from tasks.errors import UsageError
from tasks.settings import Settings
from tasks.train.attempts import LocalLaunch
from tasks.train.engines.kubernetes_launch import KubernetesLaunch, read_template, wanted_of
from tasks.train.engines.where import launch_for
from tasks.train.failures import CAPACITY, EVICTED, IMAGE, OOM_KILLED, Evidence, classify
from tasks.train.worker import RESULT, Result
from tests.tasks.train.training_rows import make_job

pytest.importorskip("kubernetes")
from tests.tasks.adapters.kubernetes_double import Script, cluster, ended, run_command, waiting

TEMPLATE = Path(__file__).resolve().parents[4] / "k8s" / "trainer-job.yaml"


def settings(**changed: Any) -> Settings:
    return Settings(trainer_template=TEMPLATE, **changed)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_jobs, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(kubernetes_jobs, "WAITING_PATIENCE_SECONDS", 0.1)


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
