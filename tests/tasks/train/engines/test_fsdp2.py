"""Weights that are split over two processes train as if they were whole, and go on exactly after a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.train.engines.fsdp2 import SETTINGS, read_settings
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
        pytest.param({"adapter": "lora"}, id="lora"),
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


@pytest.mark.slow
@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_a_stopped_split_training_goes_on_exactly(home: Path, tiny_model: Path, tmp_path: Path, adapter: str) -> None:
    whole, stopped = (make_job(tmp_path / name, tiny_model, adapter=adapter) for name in ("whole", "stopped"))
    assert run_in("fsdp2", whole)
    assert not run_in("fsdp2", stopped, stop_after=3)
    assert run_in("fsdp2", stopped)
    assert result_of(stopped.work).adapter_digest == result_of(whole.work).adapter_digest
