"""ZeRO's settings; and, where DeepSpeed is installed, that a split training is the training."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from tasks.errors import EnvironmentUnusable
from tasks.train.engines.zero import read_settings, settings_for
from tasks.train.worker import RESULT, Result, run_job
from tests.tasks.train.engines.rank_runs import run_in
from tests.tasks.train.training_rows import make_job

WITH_DEEPSPEED = importlib.util.find_spec("deepspeed") is not None
needs_deepspeed = pytest.mark.skipif(not WITH_DEEPSPEED, reason="needs the extra gpu (DeepSpeed)")


@pytest.mark.parametrize(("engine", "stage"), [("zero2", 2), ("zero3", 3)])
def test_the_settings_are_completed_by_the_training(engine: str, stage: int) -> None:
    settings = settings_for(engine, 0.5, [torch.zeros(3, 4), torch.zeros(2)])
    assert settings["zero_optimization"]["stage"] == stage
    assert settings["gradient_clipping"] == 0.5
    assert settings["zero_optimization"].get("stage3_param_persistence_threshold") == (13 if stage == 3 else None)
    assert "gradient_clipping" not in read_settings(engine)


@needs_deepspeed
@pytest.mark.parametrize("engine", ["zero2", "zero3"])
def test_deepspeed_knows_every_setting(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from deepspeed.runtime.config import DeepSpeedConfig
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    settings = settings_for(engine, 1.0, [torch.zeros(3)])
    config = DeepSpeedConfig(settings)
    assert config.zero_config.stage == int(engine[-1])
    assert (config.gradient_clipping, config.gradient_accumulation_steps) == (1.0, 1)
    known = {f.alias or name for name, f in DeepSpeedZeroConfig.model_fields.items()}
    assert set(settings["zero_optimization"]) <= known | set(DeepSpeedZeroConfig.model_fields)


@pytest.mark.skipif(WITH_DEEPSPEED, reason="DeepSpeed is installed")
@pytest.mark.slow
def test_without_deepspeed_it_is_named(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnusable, match="zero2 needs DeepSpeed"):
        run_in("zero2", make_job(tmp_path, tiny_model, adapter="lora"), processes=1)


@pytest.mark.slow
@needs_deepspeed
@pytest.mark.parametrize("engine", ["zero2", "zero3"])
def test_a_split_training_is_the_training_and_goes_on(
    home: Path, tiny_model: Path, tmp_path: Path, engine: str
) -> None:
    plain = make_job(tmp_path / "plain", tiny_model, adapter="lora", fused_layers="off", packing="off")
    assert run_job(plain, bool)
    whole, stopped = (
        make_job(
            tmp_path / name,
            tiny_model,
            adapter="lora",
            packing="off",
            fused_layers="off" if engine == "zero2" else "auto",
        )
        for name in ("whole", "stopped")
    )
    assert run_in(engine, whole)
    assert not run_in(engine, stopped, stop_after=3)
    assert run_in(engine, stopped)
    results = [Result.model_validate_json((job.work / RESULT).read_text()) for job in (plain, whole, stopped)]
    assert [p.loss for p in results[1].curve] == pytest.approx([p.loss for p in results[0].curve], rel=1e-3)
    assert results[2].adapter_digest == results[1].adapter_digest
    assert all(point.gradient_norm for point in results[1].curve)
