"""The trainer as a Kubernetes job: what the supervisor starts instead of a process of this machine.

The pods see the job's folder under the same path: TUNELOOP_HOME lies on a volume that this process and they share.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import yaml

from tasks.adapters.kubernetes_jobs import JobEnd, KubernetesJobs, PodStatus
from tasks.adapters.processes import EVENT_PREFIX
from tasks.adapters.store import write_atomically
from tasks.errors import UsageError
from tasks.settings import Settings
from tasks.train.attempts import OnEvent, as_failure, is_failure, seconds_for
from tasks.train.engines.choose import Hardware, choose
from tasks.train.engines.manifest import TRAINING, Manifest, TrainerJob, render
from tasks.train.failures import STOPPED_EXIT, Evidence, Failure, PodEnd
from tasks.train.plan import Job

_TAIL_LINES = 60


class KubernetesLaunch:
    """Starts each attempt as a job of its own, named by the training and the attempt.

    Args:
        log_file: what the pods print is added there.
        jobs: the cluster; None: the one that the environment names.
    """

    def __init__(self, log_file: Path, settings: Settings, jobs: KubernetesJobs | None = None) -> None:
        self.log_file, self.settings = log_file, settings
        self.template = read_template(settings.trainer_template)
        self.namespace = settings.trainer_namespace or str(self.template["metadata"]["namespace"])
        self.jobs = jobs or KubernetesJobs(self.namespace)
        self.attempt = 0

    def __call__(self, job: Job, seconds: float, on_event: OnEvent) -> Evidence:
        self.attempt += 1
        request = job.work.parent / f"{job.work.name}.job.json"
        wanted = wanted_of(job, request, seconds, self.settings, self.attempt)
        listener = _Listener(self.log_file, on_event)
        began = time.monotonic()
        # of the attempt before, or of a launcher that was killed at any attempt: two trainers must not share a folder
        self.jobs.clear(TRAINING, wanted.training)
        try:
            write_atomically(request, job.model_dump_json())
            self.jobs.create(render(self.template, wanted))
            end = self.jobs.follow(wanted.name, lambda: seconds_for(on_event, seconds), listener)
        finally:
            self.jobs.delete(wanted.name)
            request.unlink(missing_ok=True)
        allowed = seconds_for(on_event, seconds)
        return evidence_of(end, listener, time.monotonic() - began, allowed, str(self.log_file))


def read_template(path: Path) -> Manifest:
    """The committed Job that every attempt is made from."""
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(
            "the template of the training job cannot be read",
            where=f"TUNELOOP_TRAINER_TEMPLATE {path}",
            why=type(error).__name__,
            remedy="take k8s/trainer-job.yaml of this repository, or a copy of it",
        ) from error
    if not isinstance(content, dict) or content.get("kind") != "Job":
        raise UsageError("the template of the training job is no Kubernetes Job", where=str(path))
    return content


def wanted_of(job: Job, request: Path, seconds: float, settings: Settings, attempt: int) -> TrainerJob:
    """What an attempt asks of the cluster. Nobody can look at the GPUs from here: settings say what a node has."""
    nodes_gpus = job.config.processes or settings.trainer_gpus_per_node
    memory = int(settings.trainer_gpu_gigabytes * 1e9)
    choice = choose(job.config, job.base.parameters, Hardware(gpus=nodes_gpus, gpu_bytes=memory))
    if choice.processes > settings.trainer_gpus_per_node and choice.processes % settings.trainer_gpus_per_node:
        raise UsageError(
            f"{choice.processes} processes cannot be spread over nodes with {settings.trainer_gpus_per_node} GPUs each",
            where="train.processes",
            why="every node gets the same number",
            remedy=f"set train.processes to a multiple of {settings.trainer_gpus_per_node}",
        )
    training = job.key[:12]
    return TrainerJob(
        name=f"tuneloop-train-{training}-{attempt}",
        training=training,
        job_file=str(request),
        processes=choice.processes,
        gpus_per_node=settings.trainer_gpus_per_node,
        image=settings.trainer_image,
        namespace=settings.trainer_namespace,
        seconds=max(1, int(seconds)),
    )


def evidence_of(end: JobEnd, listener: _Listener, seconds: float, limit: float, log: str) -> Evidence:
    """What the supervisor finds out the failure from."""
    newest = {pod.index: pod for pod in end.pods}.values()  # one that was replaced tells of an ending that was repaired
    pods = tuple(
        PodEnd(reason=pod.reason, exit_code=pod.exit_code, message=pod.message, name=pod.name)
        for pod in newest
        if pod.phase != "Succeeded"
    )
    no_place = any(pod.reason == "Unschedulable" for pod in newest)
    timed_out = (end.timed_out or end.reason == "DeadlineExceeded") and not no_place  # the cluster has a clock too
    codes = [pod.exit_code for pod in newest if pod.exit_code]
    failed = codes[0] if codes else 1
    return Evidence(
        exit_code=0 if end.succeeded else STOPPED_EXIT if timed_out else failed,
        seconds=max(seconds, limit) if timed_out else min(seconds, limit * 0.999),
        timeout_seconds=limit,
        said=tuple(listener.said),
        pods=() if end.succeeded or timed_out else pods,
        log_tail=tuple(listener.tail),
        log=log,
    )


class _Listener:
    """Sorts the lines of all pods: events are passed on, errors kept, the rest goes to the log."""

    def __init__(self, log_file: Path, on_event: OnEvent) -> None:
        self.log_file, self.on_event = log_file, on_event
        self.said: list[Failure] = []
        self.tail: list[str] = []

    def __call__(self, line: str, pod: PodStatus) -> None:
        if not line.startswith(EVENT_PREFIX):
            self._log(line, pod)
            return
        event = json.loads(line[len(EVENT_PREFIX) :])
        if is_failure(event):
            self.said.append(as_failure(event))
        else:
            self.on_event(event)

    def _log(self, line: str, pod: PodStatus) -> None:
        self.tail = [*self.tail, line][-_TAIL_LINES:]
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("a", encoding="utf-8") as log:
            log.write(f"[{pod.name}] {line}\n")
