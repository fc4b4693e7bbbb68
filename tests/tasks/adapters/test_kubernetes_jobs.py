"""Jobs in a cluster, through the real client and real HTTP."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.adapters import kubernetes_answers, kubernetes_jobs, kubernetes_logs
from tasks.adapters.kubernetes_jobs import JobEnd, KubernetesJobs
from tasks.errors import EnvironmentUnusable
from tasks.train.engines.manifest import TrainerJob, render

pytest.importorskip("kubernetes")
from tests.tasks.adapters.kubernetes_double import Double, Script, Status, cluster, ended, running, waiting

TEMPLATE = yaml.safe_load((Path(__file__).parents[3] / "k8s" / "trainer-job.yaml").read_text())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_jobs, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(kubernetes_logs, "REST_SECONDS", 0.02)
    monkeypatch.setattr(kubernetes_jobs, "WAITING_PATIENCE_SECONDS", 0.1)


def follow(script: Script, seconds: float = 10, processes: int = 1) -> tuple[JobEnd, list[str], Any]:
    lines: list[str] = []
    with cluster(script) as (double, configuration):
        jobs = KubernetesJobs("tuneloop", configuration)
        wanted = TrainerJob(name="train-a", job_file="/home/job.json", processes=processes)
        jobs.create(render(TEMPLATE, wanted))
        end = jobs.follow("train-a", lambda: seconds, lambda line, pod: lines.append(f"{pod.index} {line}"))
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


def test_what_was_known_of_pods_is_kept_when_the_deadline_takes_them_away() -> None:
    nowhere = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    with cluster(lambda _: ({"phase": "Pending", "conditions": [nowhere]}, "")) as (double, configuration):
        jobs = KubernetesJobs("tuneloop", configuration)
        jobs.create(render(TEMPLATE, TrainerJob(name="train-a", job_file="/home/job.json")))
        double.once_seen = lambda: double.pass_deadline("train-a")
        end = jobs.follow("train-a", lambda: 10, lambda *_: None)
    assert (end.timed_out, end.reason) == (False, "DeadlineExceeded")
    assert [pod.reason for pod in end.pods] == ["Unschedulable"]


def hear(double: Double, configuration: Any, log: str, seconds: float = 10) -> list[str]:
    """What is heard of a pod that prints `log`, whose readings the double cuts as it likes."""
    double.script = lambda _: (running(), log)
    jobs, lines = KubernetesJobs("tuneloop", configuration), list[str]()
    jobs.create(render(TEMPLATE, TrainerJob(name="train-a", job_file="/home/job.json")))
    jobs.follow("train-a", lambda: seconds, lambda line, _: lines.append(line))
    return lines


def test_a_log_that_ends_while_its_pod_lives_is_read_on() -> None:
    """A proxy or the node closes the stream: what comes later is heard as well, and nothing twice."""
    with cluster(lambda _: (running(), "")) as (double, configuration):

        def shown(pod: str, reading: int) -> slice:
            if reading == 8:
                double.set_status(pod, ended(0))
            return slice(0, reading) if reading <= 8 else slice(None)

        double.shown = shown
        assert hear(double, configuration, "\n".join(map(str, range(12)))) == [str(n) for n in range(12)]
    assert double.readings["train-a-0-abcde"] > 8


def test_a_log_that_was_begun_anew_loses_nothing() -> None:
    """The node keeps only the end of a long log; a reading after that begins in the middle."""
    with cluster(lambda _: (running(), "")) as (double, configuration):

        def shown(pod: str, reading: int) -> slice:
            if reading == 3:
                double.set_status(pod, ended(0))
            return slice(0, 4) if reading == 1 else slice(3, None)

        double.shown = shown
        assert hear(double, configuration, "\n".join("abcdef")) == list("abcdef")


def test_a_log_that_cannot_be_read_for_a_while_is_read_later() -> None:
    with cluster(lambda _: (running(), "")) as (double, configuration):
        double.no_logs = 12
        threading.Timer(1.0, lambda: double.set_status("train-a-0-abcde", ended(0))).start()
        assert hear(double, configuration, "one\ntwo") == ["one", "two"]


def test_nobody_reads_a_log_after_the_job_was_left() -> None:
    with cluster(lambda _: (running(), "")) as (double, configuration):
        hear(double, configuration, "one", seconds=0.2)
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("log of train-a")]
        for thread in threads:
            thread.join(timeout=5)
        assert not any(thread.is_alive() for thread in threads)


def test_a_refusal_of_the_cluster_is_named() -> None:
    with cluster(lambda _: (ended(0), "")) as (double, configuration):
        double.forbidden = True
        with pytest.raises(EnvironmentUnusable, match="cluster refused") as caught:
            KubernetesJobs("tuneloop", configuration).pods("x")
    assert caught.value.why == "HTTP 403 Forbidden"


def follow_refused(status: int, times: float, log: str = "one\ntwo") -> tuple[JobEnd, list[str]]:
    """A job that ends well while the API server refuses for a while."""
    lines: list[str] = []
    with cluster(lambda _: (running(), log)) as (double, configuration):
        jobs = KubernetesJobs("tuneloop", configuration)
        jobs.create(render(TEMPLATE, TrainerJob(name="train-a", job_file="/home/job.json")))
        double.refuses = (status, times)
        threading.Timer(0.5, double.set_status, ["train-a-0-abcde", ended(0)]).start()
        return jobs.follow("train-a", lambda: 10, lambda line, _: lines.append(line)), lines


@pytest.mark.parametrize("status", [503, 429, 500, 0])
def test_an_api_server_that_is_away_for_a_while_ends_no_training(status: int, caplog: pytest.LogCaptureFixture) -> None:
    end, lines = follow_refused(status, 12)
    assert end.succeeded
    assert lines == ["one", "two"]
    said = " ".join(caplog.messages)
    assert "cannot be asked about train-a" in said
    assert "answers again about train-a" in said


def test_an_api_server_that_stays_away_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_answers, "API_PATIENCE_SECONDS", 0.2)
    with pytest.raises(EnvironmentUnusable, match="no answer") as caught:
        follow_refused(503, float("inf"))
    assert caught.value.why.startswith("HTTP 503 ")
    assert " times in " in caught.value.why


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_is_not_allowed_ends_at_once(status: int) -> None:
    with pytest.raises(EnvironmentUnusable, match="refused") as caught:
        follow_refused(status, 1)
    assert caught.value.why.startswith(f"HTTP {status} ")


def test_a_job_is_deleted_although_the_server_is_busy() -> None:
    with cluster(lambda _: (ended(0), "")) as (double, configuration):
        jobs = KubernetesJobs("tuneloop", configuration)
        jobs.create(render(TEMPLATE, TrainerJob(name="train-a", job_file="/home/job.json")))
        double.refuses = (503, 2)
        jobs.delete("train-a")
        assert double.deleted == ["train-a"]
        double.refuses = (503, float("inf"))
        with pytest.raises(EnvironmentUnusable, match="no answer"):
            jobs.delete("train-a")


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
