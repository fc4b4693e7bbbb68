"""The Kubernetes objects of one attempt of a training: one Job, or a headless Service and an indexed Job. Pure.

Everything about a cluster (nodes, volumes, resources of a GPU) is in the template; here is only what differs from
training to training.
"""

from __future__ import annotations

import copy
from typing import Any

from pydantic import Field

from tasks.contracts import Record

Manifest = dict[str, Any]
GPU = "nvidia.com/gpu"
TRAINING = "tuneloop.io/training"
"""Label by which everything of one training is found again, whoever started it."""
PORT = 29500
_GRACE_SECONDS, _MARGIN_SECONDS = 30, 10
"""Time between SIGTERM and SIGKILL where a template says nothing, and what torchrun needs of it for itself."""


class TrainerJob(Record):
    """What one attempt asks of a cluster."""

    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?$", description="Name of the Job.")
    training: str = Field("", description="Which training it is an attempt of; empty: none of ours.")
    job_file: str = Field(description="Where the pods read the job, on the volume that all of them have.")
    processes: int = Field(1, ge=1, description="Trainer processes, each with a GPU of its own.")
    gpus_per_node: int = Field(1, ge=1, description="GPUs of one node.")
    image: str = Field("", description="Image of the pods; empty: the template's.")
    namespace: str = Field("", description="Namespace; empty: the template's.")
    seconds: int = Field(86400, ge=1, description="Longest time of the attempt.")

    @property
    def nodes(self) -> int:
        return -(-self.processes // self.gpus_per_node)

    @property
    def per_node(self) -> int:
        """Processes of a node: as many on each."""
        return -(-self.processes // self.nodes)


def render(template: Manifest, wanted: TrainerJob) -> list[Manifest]:
    """The objects to create, in order."""
    job = copy.deepcopy(template)
    job["metadata"]["name"] = wanted.name
    job["metadata"]["namespace"] = wanted.namespace or job["metadata"]["namespace"]
    job["spec"]["activeDeadlineSeconds"] = wanted.seconds
    if wanted.training:
        for labelled in (job, job["spec"]["template"]):
            labelled.setdefault("metadata", {}).setdefault("labels", {})[TRAINING] = wanted.training
    container = job["spec"]["template"]["spec"]["containers"][0]
    container["image"] = wanted.image or container["image"]
    container["args"] = [wanted.job_file]
    for kind in ("requests", "limits"):
        container["resources"][kind][GPU] = str(wanted.per_node)
    if wanted.nodes == 1:
        container["command"] = _command(["--standalone"], job, wanted)
        return [job]
    _spread(job, container, wanted)
    return [_service(job), job]


def _command(meeting: list[str], job: Manifest, wanted: TrainerJob) -> list[str]:
    """torchrun would kill the workers 30 seconds after SIGTERM; the pod has more for a checkpoint."""
    grace = job["spec"]["template"]["spec"].get("terminationGracePeriodSeconds", _GRACE_SECONDS)
    timeout = max(1, grace - _MARGIN_SECONDS)
    start = ["torchrun", *meeting, f"--nproc-per-node={wanted.per_node}", "--max-restarts=0"]
    return [*start, f"--shutdown-timeout={timeout}", "-m", "tasks.train.worker"]


def _spread(job: Manifest, container: Manifest, wanted: TrainerJob) -> None:
    """Over several nodes: a pod for each, which find the first one by its name.

    Whatever takes a pod away ends the attempt: the others would wait for it. The next one goes on from the checkpoint.
    """
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    spec |= {"completionMode": "Indexed", "completions": wanted.nodes, "parallelism": wanted.nodes}
    for rule in spec["podFailurePolicy"]["rules"]:
        rule["action"] = "FailJob"
    pod["subdomain"] = wanted.name
    index = {"fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"}
    container["env"] = [*container["env"], {"name": "NODE_RANK", "valueFrom": {"fieldRef": index}}]
    container["ports"] = [{"containerPort": PORT, "name": "meet"}]
    meeting = [
        f"--nnodes={wanted.nodes}",
        "--node-rank=$(NODE_RANK)",
        f"--master-addr={wanted.name}-0.{wanted.name}",
        f"--master-port={PORT}",
    ]
    container["command"] = _command(meeting, job, wanted)


def _service(job: Manifest) -> Manifest:
    """Gives the pods names; they must find one another before they are ready."""
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(job["metadata"]["labels"])},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {"batch.kubernetes.io/job-name": name},
            "ports": [{"name": "meet", "port": PORT, "targetPort": PORT}],
        },
    }
