"""What only a GPU can show: NF4 on CUDA, split engines on one process, exact resumption, memory. `pytest -m gpu`.

Each needs the device alone, so they run one after another.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.inference.engine import Engine
from tasks.train.methods import quantization_of
from tasks.train.plan import Job
from tasks.train.worker import RESULT, Result, run_job
from tests.tasks.train.training_rows import make_job, make_rows

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
DEEPSPEED = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="needs DeepSpeed")
FLASH = pytest.mark.skipif(importlib.util.find_spec("flash_attn") is None, reason="needs FlashAttention")


def result_of(job: Job) -> Result:
    return Result.model_validate_json((job.work / RESULT).read_text())


def trained(job: Job) -> Result:
    assert run_job(job, bool)
    return result_of(job)


def after(checks: int) -> Callable[[], bool]:
    """Asks to stop from the given look at it on."""
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > checks

    return stop


@pytest.mark.parametrize("expand", ["auto", "on"])
def test_it_learns_on_the_device(home: Path, tiny_model: Path, tmp_path: Path, expand: str) -> None:
    result = trained(make_job(tmp_path, tiny_model, expand_nf4=expand, epochs=4.0))
    assert result.decisions["device"].startswith("cuda")
    assert result.decisions["expand_nf4"].startswith("off" if expand == "auto" else "on")
    assert result.curve[-1].loss < result.curve[0].loss


def test_nf4_on_the_device_is_nf4_expanded(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    """Layers that compute with 4-bit weights and layers with the values these stand for see the same losses."""
    packed, expanded = (
        trained(make_job(tmp_path / value, tiny_model, expand_nf4=value, fused_layers="off")) for value in ("off", "on")
    )
    assert [p.loss for p in packed.curve] == pytest.approx([p.loss for p in expanded.curve], rel=5e-3)


@pytest.mark.parametrize("adapter", ["lora", "qlora", "lora_8bit", "dora", "full"])
def test_every_kind_of_adapter(home: Path, tiny_model: Path, tmp_path: Path, adapter: str) -> None:
    result = trained(make_job(tmp_path, tiny_model, adapter=adapter, epochs=4.0))
    assert result.curve[-1].loss < result.curve[0].loss


@pytest.mark.parametrize("change", [{"adapter": "lora"}, {"adapter": "qlora"}, {"adapter": "lora", "dropout": 0.2}])
def test_a_stopped_training_goes_on_exactly(
    home: Path, tiny_model: Path, tmp_path: Path, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        whole = trained(make_job(tmp_path / "whole", tiny_model, **change))
        stopped = make_job(tmp_path / "stopped", tiny_model, **change)
        assert not run_job(stopped, after(3))
        found = trained(stopped)
    finally:
        torch.use_deterministic_algorithms(False)
    assert found.adapter_digest == whole.adapter_digest
    assert [p.loss for p in found.curve] == [p.loss for p in whole.curve]


@pytest.mark.parametrize(
    ("engine", "adapter"),
    [
        ("fsdp2", "lora"),
        ("fsdp2", "qlora"),
        ("fsdp2", "full"),
        pytest.param("zero2", "lora", marks=DEEPSPEED),
        pytest.param("zero3", "lora", marks=DEEPSPEED),
    ],
)
def test_split_engines_on_one_process(home: Path, tiny_model: Path, tmp_path: Path, engine: str, adapter: str) -> None:
    """Under torchrun, as in a cluster; the same losses as without splitting."""
    plain = trained(make_job(tmp_path / "plain", tiny_model, adapter=adapter, fused_layers="off", packing="off"))
    off = {"fused_layers": "off"} if engine == "zero2" else {}
    job = make_job(tmp_path / "split", tiny_model, adapter=adapter, engine=engine, processes=1, packing="off", **off)
    request = tmp_path / "job.json"
    request.write_text(job.model_dump_json())
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
    done = subprocess.run(
        [*torchrun, "-m", "tasks.train.worker", str(request)],
        env=os.environ | {"PYTHONPATH": str(Path.cwd())}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    result = result_of(job)
    assert result.decisions["engine"] == f"{engine}: configured"
    assert [p.loss for p in result.curve] == pytest.approx([p.loss for p in plain.curve], rel=5e-3)


@FLASH
def test_packing_with_flash_attention_changes_no_loss(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    padded, packed = (
        trained(make_job(tmp_path / value, tiny_model, adapter="lora", packing=value, fused_layers="off"))
        for value in ("off", "on")
    )
    assert packed.decisions["packing"].startswith("on")
    assert [p.loss for p in packed.curve] == pytest.approx([p.loss for p in padded.curve], rel=5e-3)


def test_four_bits_need_less_memory_and_recomputing_still_less(capsys: pytest.CaptureFixture[str]) -> None:
    """On a model of some size, made on the spot: the product's own steps, through the benchmark's code."""
    from bench import gpu

    common = ["--shape", "tiny", "--big-shape", "tiny", "--steps", "2", "--warm", "1", "--sequence", "1024"]
    gpu.main([*common, "--row-tokens", "256", "--parts", "lora,nf4,memory"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["nf4"]["ours"]["tokens_per_second"] > 0
    assert told["memory"]["ours"]["peak_gigabytes"] <= told["nf4"]["ours"]["peak_gigabytes"]


def test_the_engine_answers_on_the_device(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    engine = Engine.load(make_job(tmp_path, tiny_model).base, None, "nf4")
    assert engine.model.device.type == "cuda"
    prompts = [row.messages[:-1] for row in make_rows(3)]
    assert engine.generate(prompts, 5, 2) == [engine.generate([prompt], 5, 1)[0] for prompt in prompts]
    assert "".join(engine.stream(prompts[0], 5)) == engine.generate([prompts[0]], 5, 1)[0]


@pytest.mark.parametrize("kind", ["lora", "lora_8bit", "dora", "full"])
def test_every_kind_learns_and_answers_on_the_device(
    home: Path, teachable_model: Path, tmp_path: Path, kind: str
) -> None:
    job = make_job(tmp_path, teachable_model, adapter=kind, learning_rate=1e-3 if kind == "full" else 5e-3)
    assert run_job(job, bool)
    result = Result.model_validate_json((job.work / RESULT).read_text())
    assert result.curve[-1].loss < result.curve[0].loss
    engine = Engine.load(job.base, job.work, quantization_of(job.config.adapter))
    found = engine.answer_losses([row.messages for row in make_rows(12)], 4)
    assert sum(loss for loss, _ in found) / sum(n for _, n in found) == pytest.approx(result.curve[-1].loss, abs=0.3)
