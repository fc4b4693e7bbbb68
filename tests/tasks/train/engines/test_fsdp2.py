"""Weights that are split over two processes train as if they were whole, and go on exactly after a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.train.engines.fsdp2 import SETTINGS, read_settings
from tasks.train.share import Share
from tasks.train.validation import Validation
from tasks.train.worker import RESULT, Result, run_job
from tests.tasks.train.engines.rank_runs import run_in
from tests.tasks.train.training_rows import make_job


def result_of(work: Path) -> Result:
    return Result.model_validate_json((work / RESULT).read_text())


def test_the_committed_settings_are_accelerates() -> None:
    from accelerate.commands.config.config_args import ClusterConfig
    from accelerate.utils import FullyShardedDataParallelPlugin

    content = yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))
    ClusterConfig.from_yaml_file(str(SETTINGS))
    names = {name.removeprefix("fsdp_") if name != "fsdp_version" else name for name in content["fsdp_config"]}
    plugin = {"cpu_offload" if name == "offload_params" else name for name in names}
    assert plugin <= set(FullyShardedDataParallelPlugin.__dataclass_fields__)
    assert read_settings()["fsdp_version"] == 2


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"adapter": "lora"}, id="lora", marks=pytest.mark.long),
        pytest.param({"adapter": "qlora", "expand_nf4": "off"}, id="qlora", marks=pytest.mark.slow),
        pytest.param({"adapter": "full", "learning_rate": 1e-4}, id="full", marks=pytest.mark.slow),
    ],
)
def test_a_split_training_is_the_training(home: Path, tiny_model: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    whole = make_job(tmp_path / "whole", tiny_model, **change, fused_layers="off", packing="off")
    assert run_job(whole, bool)
    split = make_job(tmp_path / "split", tiny_model, **change, packing="off")
    assert run_in("fsdp2", split)
    ours, theirs = result_of(split.work), result_of(whole.work)
    assert ours.decisions["fused_layers"] == "off: the weights are split over the processes"
    assert [p.loss for p in ours.curve] == pytest.approx([p.loss for p in theirs.curve], rel=1e-3)
    assert [p.tokens for p in ours.curve] == [p.tokens for p in theirs.curve]


def test_the_best_of_a_split_model_is_remembered_whole() -> None:
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    torch.distributed.init_process_group("gloo", rank=0, world_size=1, store=torch.distributed.HashStore())
    try:
        weight = torch.arange(6.0).reshape(3, 2)
        split = distribute_tensor(weight, init_device_mesh("cpu", (1,)), [Shard(0)])
        validation = Validation((), every=1, patience=1, batch_rows=1)
        validation.look(None, torch.nn.Linear(2, 3), Share(engine="fsdp2"), 1, {"weight": split})  # type: ignore[arg-type]
        split.zero_()
    finally:
        torch.distributed.destroy_process_group()
    best = validation.best["weight"]
    assert type(best) is torch.Tensor
    assert torch.equal(best, weight)


@pytest.mark.slow
def test_a_split_training_that_stops_by_itself_keeps_checkpoints_and_its_best(
    home: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """All weights are learned and split; stopped after its best look, it goes on to the same result."""
    change = {
        "adapter": "full", "validation_share": 0.25, "eval_steps": 1, "early_stopping_evals": 2, "epochs": 8.0,
        "learning_rate": 0.1, "checkpoint_steps": 1,
    }  # fmt: skip
    whole, stopped = (make_job(tmp_path / name, tiny_model, **change) for name in ("whole", "stopped"))
    assert run_in("fsdp2", whole, processes=1)
    expected = result_of(whole.work)
    assert expected.best_step is not None
    assert expected.steps == expected.best_step + 2 < 24, [p.loss for p in expected.validation]
    assert not run_in("fsdp2", stopped, stop_after=2 * expected.best_step + 1, processes=1)
    assert run_in("fsdp2", stopped, processes=1)
    found = result_of(stopped.work)
    assert (found.best_step, found.adapter_digest) == (expected.best_step, expected.adapter_digest)
    assert found.interruptions == 1


@pytest.mark.slow
@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_a_stopped_split_training_goes_on_exactly(home: Path, tiny_model: Path, tmp_path: Path, adapter: str) -> None:
    whole, stopped = (make_job(tmp_path / name, tiny_model, adapter=adapter) for name in ("whole", "stopped"))
    assert run_in("fsdp2", whole)
    assert not run_in("fsdp2", stopped, stop_after=3)
    assert run_in("fsdp2", stopped)
    assert result_of(stopped.work).adapter_digest == result_of(whole.work).adapter_digest
