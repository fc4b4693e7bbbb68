"""The objects of a training in a cluster, against Kubernetes' schemas and the committed files."""

from __future__ import annotations

import copy
import re
import textwrap
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from torch.distributed.run import get_args_parser

from tasks.train.engines.manifest import GPU, TrainerJob, render

K8S = Path(__file__).resolve().parents[4] / "k8s"
TEMPLATE = yaml.safe_load((K8S / "trainer-job.yaml").read_text(encoding="utf-8"))


def rendered(**wanted: Any) -> list[dict[str, Any]]:
    values = {"name": "tuneloop-train", "job_file": "/var/lib/tuneloop/job.json"} | wanted
    return render(TEMPLATE, TrainerJob.model_validate(values))


@pytest.mark.parametrize("wanted", [{}, {"processes": 8, "gpus_per_node": 8}, {"processes": 16, "gpus_per_node": 8}])
def test_what_is_rendered_is_valid(wanted: dict[str, Any]) -> None:
    for manifest in rendered(**wanted):
        kubernetes_validate.validate(manifest, "1.37.0", strict=True)


def test_the_committed_files_are_what_is_rendered() -> None:
    assert rendered() == [TEMPLATE]
    nodes = list(yaml.safe_load_all((K8S / "trainer-job-nodes.yaml").read_text(encoding="utf-8")))
    assert rendered(processes=16, gpus_per_node=8) == nodes


def test_every_wish_reaches_the_job() -> None:
    (job,) = rendered(
        name="train-b", job_file="/x.json", processes=4, gpus_per_node=8, image="mine:1", namespace="n", seconds=60
    )
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert (job["metadata"]["name"], job["metadata"]["namespace"]) == ("train-b", "n")
    assert job["spec"]["activeDeadlineSeconds"] == 60
    assert (container["image"], container["args"]) == ("mine:1", ["/x.json"])
    assert container["command"] == [
        "torchrun", "--standalone", "--nproc-per-node=4", "--max-restarts=0", "--shutdown-timeout=110",
        "-m", "tasks.train.worker",
    ]  # fmt: skip
    assert container["resources"]["limits"][GPU] == container["resources"]["requests"][GPU] == "4"


def test_job_and_pods_say_of_which_training_they_are() -> None:
    for manifest in rendered(training="ab12", processes=16, gpus_per_node=8):
        assert manifest["metadata"]["labels"]["tuneloop.io/training"] == "ab12"
    assert manifest["spec"]["template"]["metadata"]["labels"]["tuneloop.io/training"] == "ab12"


def test_a_template_of_ones_own_need_not_have_labels() -> None:
    template = copy.deepcopy(TEMPLATE)
    del template["metadata"]["labels"], template["spec"]["template"]["metadata"]
    (job,) = render(template, TrainerJob(name="train-e", job_file="/x.json", training="ab12"))
    assert job["spec"]["template"]["metadata"]["labels"] == {"tuneloop.io/training": "ab12"}


def test_several_nodes_find_the_first_one() -> None:
    service, job = rendered(name="train-c", processes=16, gpus_per_node=8)
    pod = job["spec"]["template"]["spec"]
    assert (job["spec"]["completionMode"], job["spec"]["completions"], job["spec"]["parallelism"]) == ("Indexed", 2, 2)
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": "train-c"}
    assert pod["subdomain"] == service["metadata"]["name"]
    assert "--master-addr=train-c-0.train-c" in pod["containers"][0]["command"]
    assert {rule["action"] for rule in job["spec"]["podFailurePolicy"]["rules"]} == {"FailJob"}


@pytest.mark.parametrize(("grace", "timeout"), [(600, 590), (5, 1)])
def test_torchrun_leaves_its_workers_the_time_that_the_pod_has(grace: int, timeout: int) -> None:
    """By itself it kills them 30 seconds after SIGTERM, in the middle of a checkpoint."""
    template = copy.deepcopy(TEMPLATE)
    template["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = grace
    (job,) = render(template, TrainerJob(name="train-d", job_file="/x.json"))
    command = job["spec"]["template"]["spec"]["containers"][0]["command"]
    assert f"--shutdown-timeout={timeout}" in command
    assert get_args_parser().parse_args([*command[1:], "/x.json"]).shutdown_timeout == timeout


def test_one_node_survives_an_eviction_and_repeats_no_refusal() -> None:
    ignore, fail = TEMPLATE["spec"]["podFailurePolicy"]["rules"]
    assert (ignore["action"], ignore["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert fail["onExitCodes"]["values"] == [2, 20, 30, 40, 50]


def selects(policy: Any, labels: dict[str, str]) -> bool:
    return set(policy["spec"]["podSelector"]["matchLabels"].items()) <= set(labels.items())


def test_an_object_store_outside_needs_the_policy_that_the_document_has() -> None:
    """Trainers reach nothing outside by themselves; what is written for them is valid and meets them, only them."""
    trainer = TEMPLATE["spec"]["template"]["metadata"]["labels"]
    run = yaml.safe_load((K8S / "training-job.yaml").read_text(encoding="utf-8"))["spec"]["template"]["metadata"]
    base = yaml.safe_load((K8S / "base" / "network-policy.yaml").read_text(encoding="utf-8"))
    assert selects(base, trainer)
    assert all("to" in rule for rule in base["spec"]["egress"])
    text = (K8S.parent / "docs" / "where-training-runs.md").read_text(encoding="utf-8")
    block = re.search(r"(?:^    .*\n)*^    kind: NetworkPolicy\n(?:^    .*\n)*", text, re.M)
    assert block
    more = yaml.safe_load(textwrap.dedent(block[0]))
    kubernetes_validate.validate(more, "1.37.0", strict=True)
    assert selects(more, trainer)
    assert not selects(more, run["labels"])
    assert more["spec"]["egress"] == [{"ports": [{"protocol": "TCP", "port": 443}]}]


def test_the_trainer_has_the_shape_of_a_run() -> None:
    run = yaml.safe_load((K8S / "training-job.yaml").read_text(encoding="utf-8"))["spec"]["template"]["spec"]
    ours = TEMPLATE["spec"]["template"]["spec"]
    for part in ("nodeSelector", "tolerations", "securityContext", "serviceAccountName", "restartPolicy"):
        assert ours[part] == run[part]
