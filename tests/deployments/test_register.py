"""The committed deployments: entrypoints that are flows, parameters that make a form, schedules that wait."""

from __future__ import annotations

import subprocess
import sys

import pytest
from prefect.utilities.callables import parameter_schema

from deployments.register import Deployment, committed_deployments

DEPLOYMENTS = committed_deployments()


def test_the_deployments_are_the_ones_people_are_told_about() -> None:
    names = {(d.entrypoint, d.name, d.work_pool.name) for d in DEPLOYMENTS}
    assert names == {
        ("flows.retrain.retrain", "local", "local"),
        ("flows.prepare_data.prepare_data", "local", "local"),
        ("flows.finetune.finetune", "local", "local"),
        ("flows.release.release", "local", "local"),
        ("flows.check_drift.check_drift", "nightly", "local"),
        ("flows.retrain.retrain", "gpu", "gpu"),
        ("flows.finetune.finetune", "gpu", "gpu"),
    }


def test_schedules_wait_for_a_configuration() -> None:
    schedules = {f"{d.entrypoint.split('.')[1]}/{s.slug}": s for d in DEPLOYMENTS for s in d.schedules}
    assert set(schedules) == {"retrain/weekly", "check_drift/nightly"}
    assert not any(s.active for s in schedules.values())


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: f"{d.entrypoint}-{d.name}")
def test_every_entrypoint_is_a_flow_whose_form_describes_the_configuration(deployment: Deployment) -> None:
    flow = deployment.load_flow()
    schema = parameter_schema(flow)
    assert schema.definitions["RunConfig"]["properties"]["train"]
    assert set(deployment.parameters) <= set(schema.properties)
    assert {k for s in deployment.schedules for k in s.parameters} <= set(schema.properties)


def test_no_choice_of_the_form_has_two_buttons_of_one_name() -> None:
    definitions = parameter_schema(DEPLOYMENTS[0].load_flow()).definitions
    fields = {f"{d}.{f}": field for d, found in definitions.items() for f, field in found.get("properties", {}).items()}
    types = {
        name: [kind.get("type") or kind.get("$ref") for kind in field.get("anyOf", ())]
        for name, field in fields.items()
    }
    assert types["TrainConfig.rank"] == ["integer", "string", "null"]
    assert {name: found for name, found in types.items() if len(set(found)) < len(found)} == {}


def test_something_else_than_a_flow_is_an_error() -> None:
    wrong = Deployment.model_validate(
        {"name": "local", "entrypoint": "json.dumps", "work_pool": {"name": "local"}}
    )  # fmt: skip
    with pytest.raises(TypeError, match="not a flow"):
        wrong.load_flow()


def test_looking_at_services_does_not_import_prefect() -> None:
    """`tuneloop status` and `--help` have to be quick."""
    code = "import sys, deployments.services.control; sys.exit('prefect' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
