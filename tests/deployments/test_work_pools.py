"""Work pools and cluster files: the job of a run, rendered by the worker's own code, against Kubernetes' schemas."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.workers.process import ProcessJobConfiguration
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

from deployments.register import POOL_FILES, committed_deployments

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = "1.37.0"
NO_SERVER = "http://127.0.0.1:9/api"  # rendering asks nobody; without an address Prefect would start a server


def template(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((POOL_FILES / f"{name}.json").read_text(encoding="utf-8"))
    return content


def rendered_job(values: dict[str, Any]) -> dict[str, Any]:
    """The job that a Kubernetes worker makes for a run of the pool."""

    async def render() -> dict[str, Any]:
        client = PrefectClient(NO_SERVER)
        made = KubernetesWorkerJobConfiguration.from_template_and_values(
            template("kubernetes-gpu"), values, client=client
        )
        configuration = await made
        configuration.prepare_for_flow_run(FlowRun(id=uuid.uuid4(), name="honest-otter", flow_id=uuid.uuid4()))
        manifest: dict[str, Any] = configuration.job_manifest
        return manifest

    return asyncio.run(render())


VALUES = [
    {},
    {"gpu_count": 4, "node_selector": {"gpu": "h200"}, "tolerations": [], "shm_size": "64Gi", "store_claim": "mine"},
    *[d.work_pool.job_variables for d in committed_deployments() if d.work_pool.name == "gpu"],
]


@pytest.mark.parametrize("values", VALUES)
def test_the_rendered_job_is_valid(values: dict[str, Any]) -> None:
    kubernetes_validate.validate(rendered_job(values), KUBERNETES, strict=True)


def test_every_variable_reaches_the_job() -> None:
    values = {
        "gpu_count": 2, "node_selector": {"gpu": "h200"}, "shm_size": "16Gi", "store_claim": "a", "models_claim": "b",
        "tolerations": [{"key": "x", "operator": "Exists"}], "image": "tuneloop:9", "service_account_name": "someone",
        "namespace": "elsewhere", "env": {"HF_HUB_OFFLINE": "0"}, "active_deadline_seconds": 60, "backoff_limit": 0,
        "termination_grace_seconds": 30, "finished_job_ttl": 5, "memory_limit": "8Gi", "cpu_request": "3",
    }  # fmt: skip
    job = rendered_job(values)
    pod = job["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 2, "memory": "8Gi"}
    assert container["resources"]["requests"] == {"nvidia.com/gpu": 2, "cpu": "3"}
    assert pod["nodeSelector"] == {"gpu": "h200"}
    assert pod["tolerations"] == [{"key": "x", "operator": "Exists"}]
    assert (container["image"], pod["serviceAccountName"]) == ("tuneloop:9", "someone")
    assert job["metadata"]["namespace"] == "elsewhere"
    assert (job["spec"]["activeDeadlineSeconds"], job["spec"]["ttlSecondsAfterFinished"]) == (60, 5)
    assert pod["terminationGracePeriodSeconds"] == 30
    volumes = {v["name"]: v for v in pod["volumes"]}
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Gi"}
    assert volumes["home"]["persistentVolumeClaim"]["claimName"] == "a"
    assert volumes["models"]["persistentVolumeClaim"]["claimName"] == "b"
    assert {m["name"] for m in container["volumeMounts"]} == set(volumes)
    environment = {e["name"]: e["value"] for e in container["env"]}
    assert environment["HF_HUB_OFFLINE"] == "0"
    assert environment["TUNELOOP_HOME"] == "/var/lib/tuneloop"


def test_a_job_by_default_asks_for_one_gpu_on_a_gpu_node() -> None:
    pod = rendered_job({})["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": 1}
    assert pod["nodeSelector"] == {"tuneloop.io/pool": "gpu"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_job_variables_of_the_deployments_exist_in_their_pool() -> None:
    known = {"gpu": template("kubernetes-gpu"), "local": template("local")}
    for deployment in committed_deployments():
        variables = known[deployment.work_pool.name]["variables"]["properties"]
        assert set(deployment.work_pool.job_variables) <= set(variables)


@pytest.mark.parametrize("name", ["local", "kubernetes-gpu"])
def test_every_variable_is_used_and_described(name: str) -> None:
    content = template(name)
    configuration = json.dumps(content["job_configuration"])
    for variable, schema in content["variables"]["properties"].items():
        assert f"{{{{ {variable} }}}}" in configuration
        assert schema["description"]


def test_the_local_pool_starts_a_process_in_the_given_folder(tmp_path: Path) -> None:
    async def render() -> ProcessJobConfiguration:
        values = {"working_dir": str(tmp_path)}
        return await ProcessJobConfiguration.from_template_and_values(
            template("local"), values, client=PrefectClient(NO_SERVER)
        )

    assert asyncio.run(render()).working_dir == tmp_path


@pytest.mark.parametrize("path", sorted((ROOT / "k8s").rglob("*.yaml")), ids=lambda p: p.name)
def test_cluster_files_are_valid(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        if document["kind"] == "Kustomization":
            assert all((path.parent / resource).is_file() for resource in document["resources"])
        else:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_the_job_by_hand_has_the_shape_of_the_pools_job() -> None:
    by_hand = yaml.safe_load((ROOT / "k8s" / "training-job.yaml").read_text(encoding="utf-8"))
    ours, theirs = by_hand["spec"]["template"]["spec"], rendered_job({})["spec"]["template"]["spec"]
    for part in ("nodeSelector", "tolerations", "securityContext", "serviceAccountName", "restartPolicy"):
        assert ours[part] == theirs[part]
    assert ours["containers"][0]["image"] == theirs["containers"][0]["image"]
    assert [v for v in ours["volumes"] if v["name"] != "config"] == sorted(
        theirs["volumes"], key=lambda v: ["home", "models", "shm"].index(v["name"])
    )
