"""Jobs in a cluster, through the real client and real HTTP."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.adapters import kubernetes_jobs
from tasks.adapters.kubernetes_jobs import JobEnd, KubernetesJobs
from tasks.errors import EnvironmentUnusable
from tasks.train.engines.manifest import TrainerJob, render

pytest.importorskip("kubernetes")
from tests.tasks.adapters.kubernetes_double import Script, Status, cluster, ended, waiting

TEMPLATE = yaml.safe_load((Path(__file__).parents[3] / "k8s" / "trainer-job.yaml").read_text())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_jobs, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(kubernetes_jobs, "WAITING_PATIENCE_SECONDS", 0.1)


def follow(script: Script, seconds: float = 10, processes: int = 1) -> tuple[JobEnd, list[str], Any]:
    lines: list[str] = []
    with cluster(script) as (double, configuration):
        jobs = KubernetesJobs("tuneloop", configuration)
        wanted = TrainerJob(name="train-a", job_file="/home/job.json", processes=processes)
        jobs.create(render(TEMPLATE, wanted))
        end = jobs.follow("train-a", seconds, lambda line, pod: lines.append(f"{pod.index} {line}"))
        jobs.delete("train-a")
        jobs.delete("train-a")  # gone already
    return end, lines, double


def test_a_job_that_succeeds() -> None:
    end, lines, double = follow(lambda _: (ended(0), "one\ntwo"))
    assert (end.succeeded, end.timed_out) == (True, False)
    assert lines == ["0 one", "0 two"]
    assert double.deleted == ["train-a"]
    assert not double.services


def test_all_pods_of_several_nodes_are_heard() -> None:
    end, lines, double = follow(lambda _: (ended(0), "here"), processes=2)
    assert sorted(lines) == ["0 here", "1 here"]
    assert [m["kind"] for m in double.created] == ["Service", "Job"]
    assert [pod.index for pod in end.pods] == [0, 1]


@pytest.mark.parametrize(
    ("status", "reason", "code"),
    [
        (ended(137, "OOMKilled"), "OOMKilled", 137),
        (ended(30), "Error", 30),
        ({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}, "Evicted", None),
        (
            ended(143, conditions=[{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]),
            "PreemptionByScheduler",
            143,
        ),
    ],
)
def test_why_a_pod_failed(status: Status, reason: str, code: int | None) -> None:
    end, _, _ = follow(lambda _: (status, ""))
    assert not end.succeeded
    assert end.reason == "BackoffLimitExceeded"
    assert [(pod.reason, pod.exit_code) for pod in end.pods] == [(reason, code)]


def test_an_image_that_cannot_be_pulled_is_given_up() -> None:
    end, _, _ = follow(lambda _: (waiting("ImagePullBackOff"), ""))
    assert (end.succeeded, end.timed_out) == (False, False)
    assert end.pods[0].reason == "ImagePullBackOff"


def test_a_pod_without_a_place_waits_until_the_time_is_over() -> None:
    nowhere = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    end, _, _ = follow(lambda _: ({"phase": "Pending", "conditions": [nowhere]}, ""), seconds=0.2)
    assert end.timed_out
    assert (end.pods[0].reason, end.pods[0].message) == ("Unschedulable", "0/3 nodes")


def test_a_refusal_of_the_cluster_is_named() -> None:
    with cluster(lambda _: (ended(0), "")) as (double, configuration):
        double.forbidden = True
        with pytest.raises(EnvironmentUnusable, match="cluster refused") as caught:
            KubernetesJobs("tuneloop", configuration).pods("x")
    assert caught.value.why == "HTTP 403 Forbidden"


def test_without_a_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(EnvironmentUnusable, match="no Kubernetes cluster"):
        KubernetesJobs("tuneloop")


def test_without_the_client() -> None:
    code = (
        "import sys; sys.modules['kubernetes'] = None\n"
        "from tasks.adapters.kubernetes_jobs import KubernetesJobs\n"
        "from tasks.errors import EnvironmentUnusable\n"
        "try: KubernetesJobs('x')\n"
        "except EnvironmentUnusable as e: print(e.remedy)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "pip install 'tuneloop[kubernetes]'"
