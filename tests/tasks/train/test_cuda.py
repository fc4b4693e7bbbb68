"""The CUDA path: 4-bit layers stay as they are. Run where a device is present: pytest -m gpu."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tasks.inference.engine import Engine
from tasks.train.worker import RESULT, Result, run_job
from tests.tasks.train.training_rows import make_job, make_rows

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize("expand", ["auto", "on"])
def test_it_learns_on_the_device(home: Path, tiny_model: Path, tmp_path: Path, expand: str) -> None:
    job = make_job(tmp_path, tiny_model, expand_nf4=expand, epochs=4.0)
    assert run_job(job, bool)
    result = Result.model_validate_json((job.work / RESULT).read_text())
    assert result.decisions["device"].startswith("cuda")
    assert result.decisions["expand_nf4"].startswith("off" if expand == "auto" else "on")
    assert result.curve[-1].loss < result.curve[0].loss


def test_the_engine_answers_on_the_device(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    engine = Engine.load(make_job(tmp_path, tiny_model).base, None, "nf4")
    assert engine.model.device.type == "cuda"
    prompts = [row.messages[:-1] for row in make_rows(3)]
    assert engine.generate(prompts, 5, 2) == [engine.generate([prompt], 5, 1)[0] for prompt in prompts]
    assert "".join(engine.stream(prompts[0], 5)) == engine.generate([prompts[0]], 5, 1)[0]
