"""Fields of the configuration whose effect is seen in a whole training; docs/training-fields.md lists all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from safetensors.torch import load_file

from tasks.adapters.processes import EVENT_PREFIX
from tasks.train.adapter import WEIGHTS
from tasks.train.worker import RESULT, Result, run_job
from tests.tasks.train.training_rows import make_job

PLAIN = {"adapter": "lora", "epochs": 1.0}


class Trained(NamedTuple):
    """What is left of a training."""

    result: Result
    events: list[dict[str, Any]]
    layers: set[str]


@pytest.fixture
def trained(home: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Trained]:
    def train(**config: Any) -> Trained:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        job = make_job(folder, tiny_model, **PLAIN | config)
        capsys.readouterr()
        assert run_job(job, bool)
        said = [line.removeprefix(EVENT_PREFIX) for line in capsys.readouterr().out.splitlines()]
        layers = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in load_file(str(job.work / WEIGHTS))}
        result = Result.model_validate_json((job.work / RESULT).read_text(encoding="utf-8"))
        return Trained(result, [json.loads(line) for line in said if line.startswith("{")], layers)

    return train


@pytest.mark.parametrize("change", [{"alpha": 32}, {"max_gradient_norm": 0.001}, {"rslora": True}])
def test_what_is_learned_depends_on_it(trained: Callable[..., Trained], change: dict[str, Any]) -> None:
    assert trained(**change).result.adapter_digest != trained().result.adapter_digest


def test_only_target_modules_are_adapted(trained: Callable[..., Trained]) -> None:
    assert trained(target_modules=("q_proj", "down_proj")).layers == {"q_proj", "down_proj"}
    assert len(trained().layers) == 7


@pytest.mark.parametrize(
    ("change", "steps"), [({}, 3), ({"epochs": 2.0}, 6), ({"batch_rows": 6}, 2), ({"max_rows": 4}, 1)]
)
def test_steps_follow_from_rows_batches_and_epochs(
    trained: Callable[..., Trained], change: dict[str, Any], steps: int
) -> None:
    assert trained(**change).result.steps == steps


@pytest.mark.parametrize(("checkpoint_steps", "at"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4]), (9, [])])
def test_checkpoint_steps_is_how_often_it_is_saved(
    trained: Callable[..., Trained], checkpoint_steps: int, at: list[int]
) -> None:
    events = trained(epochs=2.0, checkpoint_steps=checkpoint_steps).events
    assert [event["step"] for event in events if event["event"] == "checkpoint"] == at


@pytest.mark.parametrize(("eval_steps", "at"), [(1, [0, 1, 2, 3]), (2, [0, 2, 3])])
def test_eval_steps_is_how_often_validation_is_looked_at(
    trained: Callable[..., Trained], eval_steps: int, at: list[int]
) -> None:
    result = trained(validation_share=0.25, eval_steps=eval_steps).result
    assert [look.step for look in result.validation] == at


def test_validation_share_keeps_rows_back(trained: Callable[..., Trained]) -> None:
    result = trained(validation_share=0.25).result
    assert (result.rows_seen, result.validation_rows) == (9, 3)
    assert trained().result.validation_rows == 0
