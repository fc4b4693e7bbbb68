"""Jobs in a Kubernetes cluster, through the official client: create, follow to their end, delete.

The cluster is that of the pod this runs in, or of the current context of KUBECONFIG. Nothing is kept: a job is found
again by its name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import Field

from tasks import progress
from tasks.adapters.kubernetes_answers import Away, Unavailable, refusals_named
from tasks.adapters.kubernetes_logs import LogReader
from tasks.contracts import Record
from tasks.errors import EnvironmentUnusable

POLL_SECONDS = 1.0
WAITING_PATIENCE_SECONDS = 180.0
"""How long an image may fail to be pulled before the job is given up: a registry can be away for a moment."""
GONE_PATIENCE_SECONDS = 600.0
"""How long pods that are to end may take: their own time to write a checkpoint, and a node that comes back."""
DELETE_TRIES = 5
_ANSWER_SECONDS = (10.0, 60.0)  # to connect, and between two pieces of an answer
_HOPELESS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError")
_INDEX = "batch.kubernetes.io/job-completion-index"


class PodStatus(Record):
    """What Kubernetes says of one pod."""

    name: str
    index: int = 0
    phase: str
    reason: str = Field("", description="Why it waits or ended: OOMKilled, Evicted, ErrImagePull, Unschedulable, ...")
    message: str = ""
    exit_code: int | None = None


class JobEnd(Record):
    """How following a job ended."""

    succeeded: bool
    timed_out: bool = False
    reason: str = Field("", description="Of the job's condition: BackoffLimitExceeded, PodFailurePolicy, ...")
    pods: tuple[PodStatus, ...] = ()


class KubernetesJobs:
    """The jobs of one namespace.

    Raises:
        EnvironmentUnusable: there is no client or no cluster, or the cluster refuses.
    """

    def __init__(self, namespace: str, configuration: Any = None) -> None:
        client = _client()
        self.namespace = namespace
        api = client.ApiClient(configuration or _configuration(client))
        self.batch, self.core = client.BatchV1Api(api), client.CoreV1Api(api)

    def create(self, manifests: Sequence[dict[str, Any]]) -> None:
        """Create jobs and services; one that is there already is left as it is."""
        for manifest in manifests:
            create = {
                "Job": self.batch.create_namespaced_job,
                "Service": self.core.create_namespaced_service,
            }[manifest["kind"]]
            with refusals_named(f"create {manifest['kind']} {manifest['metadata']['name']}", but=409):
                create(self.namespace, manifest)

    def delete(self, name: str, grace_seconds: int | None = None) -> None:
        """Delete a job with its pods, and the service of its name; SIGTERM first. It may be gone already.

        Tried some times: a training that has come to its end is not to be lost to a server that is busy.
        """
        for left in reversed(range(DELETE_TRIES)):
            try:
                self._delete(name, grace_seconds)
                return
            except Unavailable:
                if not left:
                    raise
                time.sleep(POLL_SECONDS)

    def _delete(self, name: str, grace_seconds: int | None) -> None:
        with refusals_named(f"delete job {name}", but=404):
            self.batch.delete_namespaced_job(
                name, self.namespace, propagation_policy="Foreground", grace_period_seconds=grace_seconds
            )
        with refusals_named(f"delete service {name}", but=404):
            self.core.delete_namespaced_service(name, self.namespace)

    def clear(self, label: str, value: str) -> None:
        """Delete all jobs that carry a label, and wait until they and their pods are gone.

        Raises:
            EnvironmentUnusable: some do not go. What they are doing nobody can say.
        """
        selector, until = f"{label}={value}", time.monotonic() + GONE_PATIENCE_SECONDS
        for name in self._jobs(selector):
            self.delete(name)
        while left := (*self._jobs(selector), *(pod.metadata.name for pod in self._pods(selector))):
            progress.stop_if_interrupted()
            if time.monotonic() >= until:
                raise _stuck(left, self.namespace, selector)
            time.sleep(POLL_SECONDS)

    def _jobs(self, selector: str) -> list[str]:
        """Names of jobs, those that are being deleted included."""
        with refusals_named(f"list jobs {selector}"):
            found = self.batch.list_namespaced_job(self.namespace, label_selector=selector).items
        return [job.metadata.name for job in found]

    def _pods(self, selector: str) -> list[Any]:
        with refusals_named(f"list pods {selector}"):
            found: list[Any] = self.core.list_namespaced_pod(
                self.namespace, label_selector=selector, _request_timeout=_ANSWER_SECONDS
            ).items
        return found

    def pods(self, name: str) -> tuple[PodStatus, ...]:
        """The pods of a job, in the order of their numbers, the newest of each last."""
        found = self._pods(f"batch.kubernetes.io/job-name={name}")
        oldest_first = sorted(found, key=lambda pod: str(pod.metadata.creation_timestamp))
        return tuple(sorted((_status(pod) for pod in oldest_first), key=lambda status: status.index))

    def follow(self, name: str, seconds: Callable[[], float], on_line: Callable[[str, PodStatus], None]) -> JobEnd:
        """Pass on what the pods print until the job has ended, failed for good, or the time is over.

        Args:
            seconds: the time from the beginning on; asked again and again, what the pods print may shorten it.

        Raises:
            EnvironmentUnusable: the cluster refuses, or could not be asked for too long.
        """
        began, patience, away = time.monotonic(), _Patience(), Away(name)
        end, known = None, tuple[PodStatus, ...]()
        with LogReader(self.core, self.namespace, on_line) as reader:
            while True:
                progress.stop_if_interrupted()
                given_up = False
                with away.borne():
                    end, pods = self._end(name), self.pods(name)
                    known = pods or known  # a deadline takes the pods away, and with them what they tell
                    reader.look_at(pods)
                    given_up = patience.ends(pods)
                reader.pass_on()
                over = time.monotonic() - began >= seconds()
                if end or given_up or over:
                    break
                time.sleep(POLL_SECONDS)
            if end:
                reader.hear_last_words()
            reader.pass_on()
        ended = end or JobEnd(succeeded=False, timed_out=not given_up)
        with away.borne():
            known = self.pods(name) or known
        return ended.model_copy(update={"pods": known})

    def _end(self, name: str) -> JobEnd | None:
        with refusals_named(f"read job {name}"):
            status = self.batch.read_namespaced_job(name, self.namespace, _request_timeout=_ANSWER_SECONDS).status
        for condition in status.conditions or ():
            if condition.status == "True" and condition.type in ("Complete", "Failed"):
                return JobEnd(succeeded=condition.type == "Complete", reason=condition.reason or "")
        return None


class _Patience:
    """Bears with an image that is not there, but not for ever."""

    def __init__(self) -> None:
        self.since = 0.0

    def ends(self, pods: Sequence[PodStatus]) -> bool:
        """Whether pods have been hopeless for too long, looked at now."""
        if not any(pod.reason in _HOPELESS for pod in pods):
            self.since = 0.0
            return False
        self.since = self.since or time.monotonic()
        return time.monotonic() - self.since >= WAITING_PATIENCE_SECONDS


def _status(pod: Any) -> PodStatus:
    """The most telling of pod reason, container states and conditions."""
    status = pod.status
    reason, message, code = status.reason or "", status.message or "", None
    for container in status.container_statuses or ():
        state = container.state
        if state.terminated:
            code = state.terminated.exit_code
            reason, message = reason or state.terminated.reason or "", message or state.terminated.message or ""
        elif state.waiting:
            reason, message = reason or state.waiting.reason or "", message or state.waiting.message or ""
    for condition in status.conditions or ():
        unschedulable = condition.type == "PodScheduled" and condition.status == "False"
        taken_away = condition.type == "DisruptionTarget" and condition.status == "True"
        if taken_away or (unschedulable and not reason):
            reason, message = condition.reason or reason, condition.message or message
    annotations = pod.metadata.annotations or {}
    return PodStatus(
        name=pod.metadata.name,
        index=int(annotations.get(_INDEX, 0)),
        phase=status.phase or "Pending",
        reason=reason,
        message=message,
        exit_code=code,
    )


def _stuck(names: Sequence[str], namespace: str, selector: str) -> EnvironmentUnusable:
    return EnvironmentUnusable(
        "an earlier trainer of this training is still there",
        where=", ".join(names),
        why=f"it was asked to end {GONE_PATIENCE_SECONDS / 60:.0f} minutes ago; two must not write into one folder",
        remedy="look at its node; once that is known to be off or its pod to be dead, "
        f"`kubectl -n {namespace} delete pod -l {selector} --force --grace-period=0`, then repeat the command",
    )


def _client() -> Any:
    try:
        from kubernetes import client
    except ImportError as error:
        raise EnvironmentUnusable(
            "trainers cannot be started in a cluster",
            where="TUNELOOP_TRAINER",
            why="the package kubernetes is not installed",
            remedy="pip install 'tuneloop[kubernetes]'",
        ) from error
    return client


def _configuration(client: Any) -> Any:
    from kubernetes import config

    found = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=found)
    except config.ConfigException:
        try:
            config.load_kube_config(client_configuration=found)
        except config.ConfigException as error:
            raise EnvironmentUnusable(
                "no Kubernetes cluster is known here",
                where="KUBECONFIG",
                why="this is no pod of a cluster, and there is no usable kubeconfig",
                remedy="run in the cluster, or set KUBECONFIG",
            ) from error
    return found
