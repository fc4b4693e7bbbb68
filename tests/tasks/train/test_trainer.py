"""Training itself: it learns, repeats exactly, and goes on exactly where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.digest import canonical_json, digest_file
from tasks.errors import TrainingFailed
from tasks.inference.engine import Engine
from tasks.train.adapter import CONFIG, WEIGHTS, adapter_digest
from tasks.train.checkpoint import DECISIONS, MARKER
from tasks.train.plan import Job
from tasks.train.worker import RESULT, Result, run_job
from tests.tasks.train.training_rows import make_job, make_rows

Whole = tuple[Job, Result]
NEVER = bool  # a `stop_asked` that always says no


def result_of(job: Job, stop_asked: Callable[[], bool] = NEVER) -> Result:
    assert run_job(job, stop_asked)
    return Result.model_validate_json((job.work / RESULT).read_text())


def stop_at(step: int) -> Callable[[], bool]:
    """Asks to stop once `step` steps are done; counts by being asked once before and once a step."""
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > step

    return stop


@pytest.fixture(scope="module")
def whole(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """An uninterrupted training."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("whole")
        patch.setenv("TUNELOOP_HOME", str(folder / "home"))
        job = make_job(folder, tiny_model)
        return job, result_of(job)


def test_it_learns_and_leaves_only_the_result(whole: Whole) -> None:
    job, result = whole
    assert sorted(p.name for p in job.work.iterdir()) == [CONFIG, WEIGHTS, RESULT]
    assert [point.step for point in result.curve] == [1, 2, 3, 4, 5, 6]
    assert result.curve[-1].loss < result.curve[0].loss
    assert (result.steps, result.rows_seen, result.rows_available) == (6, 12, 12)
    assert result.curve[-1].tokens == result.tokens
    assert result.interruptions == 0
    assert result.decisions["chat_template"].startswith("plain ChatML")


def test_the_same_training_gives_the_same_digest(home: Path, tiny_model: Path, tmp_path: Path, whole: Whole) -> None:
    assert result_of(make_job(tmp_path, tiny_model)).adapter_digest == whole[1].adapter_digest


@pytest.mark.parametrize(
    "change", [{"seed": 3}, {"learning_rate": 2e-3}, {"loss_on": "all"}, {"weight_decay": 0.1}, {"warmup_share": 0.5}]
)
def test_what_is_configured_has_an_effect(
    home: Path, tiny_model: Path, tmp_path: Path, whole: Whole, change: dict[str, Any]
) -> None:
    assert result_of(make_job(tmp_path, tiny_model, **change)).adapter_digest != whole[1].adapter_digest


def test_micro_batches_only_save_memory(home: Path, tiny_model: Path, tmp_path: Path, whole: Whole) -> None:
    other = result_of(make_job(tmp_path, tiny_model, micro_batch_rows=4))
    for ours, theirs in zip(other.curve, whole[1].curve, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=2e-3)


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "bf16"},
        {"precision": "fp32"},
        {"dropout": 0.2, "precision": "bf16"},  # adapters in bf16
        {"adapter": "lora"},
        {"expand_nf4": "off", "precision": "bf16"},
        {"expand_nf4": "off", "precision": "fp32"},
    ],
)
def test_a_stopped_training_goes_on_exactly(
    home: Path, tiny_model: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    expected = result_of(make_job(tmp_path / "a", tiny_model, **change))
    job = make_job(tmp_path / "b", tiny_model, **change)
    assert not run_job(job, stop_at(3))
    assert [p.name for p in sorted((job.work / "checkpoints").glob("step-*"))] == ["step-00000002", "step-00000003"]
    found = result_of(job)
    assert found.adapter_digest == expected.adapter_digest
    assert [p.loss for p in found.curve] == [p.loss for p in expected.curve]
    assert found.history == ("interrupted 1×, resumed at step 3",)


def test_a_checkpoint_in_many_files_goes_on_exactly(
    home: Path, tiny_model: Path, tmp_path: Path, whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.train.checkpoint_files.PART_BYTES", 2_000)
    job = make_job(tmp_path / "b", tiny_model)
    assert not run_job(job, stop_at(3))
    assert len(list((job.work / "checkpoints" / "step-00000003").glob("optimizer-*-of-*"))) > 2
    assert result_of(job).adapter_digest == whole[1].adapter_digest


def test_dropout_and_quantisation_matter(home: Path, tiny_model: Path, tmp_path: Path, whole: Whole) -> None:
    digests = {whole[1].adapter_digest}
    for number, change in enumerate(({"dropout": 0.2}, {"adapter": "lora"}, {"expand_nf4": "off"}, {"rank": 2})):
        digests.add(result_of(make_job(tmp_path / str(number), tiny_model, **change)).adapter_digest)
    assert len(digests) == 5


def test_precision_matters(
    home: Path,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tasks.inference.precision.cpu_multiplies_bf16", lambda: False)
    found, said = {}, {}
    for precision in ("bf16", "fp32"):
        found[precision] = result_of(make_job(tmp_path / precision, tiny_model, precision=precision))
        said[precision] = capsys.readouterr().out
    assert [name for name, text in said.items() if "no instructions for" in text] == ["bf16"]
    assert {name: result.decisions["precision"] for name, result in found.items()} == {
        "bf16": "bf16: configured",
        "fp32": "fp32: configured",
    }
    assert found["bf16"].adapter_digest != found["fp32"].adapter_digest
    losses = [[point.loss for point in result.curve] for result in found.values()]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_a_damaged_checkpoint_is_passed_over(home: Path, tiny_model: Path, tmp_path: Path, whole: Whole) -> None:
    job = make_job(tmp_path, tiny_model)
    assert not run_job(job, stop_at(4))
    (job.work / "checkpoints" / "step-00000004" / "adapter.safetensors").write_bytes(b"torn")
    assert result_of(job).adapter_digest == whole[1].adapter_digest


def test_a_stop_before_the_first_step_does_not_train(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, tiny_model)
    assert not run_job(job, lambda: True)
    assert not list((job.work / "checkpoints").glob("step-*"))


def test_decisions_are_taken_once(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, tiny_model)
    assert not run_job(job, stop_at(1))
    (job.work / "checkpoints" / "decisions.json").write_text("damaged")
    checkpoint = job.work / "checkpoints" / "step-00000001"
    decided = json.loads((checkpoint / DECISIONS).read_text())
    decided["device"]["reason"] = "written by the first start"
    (checkpoint / DECISIONS).write_text(json.dumps(decided))
    digests = json.loads((checkpoint / MARKER).read_text()) | {DECISIONS: digest_file(checkpoint / DECISIONS)}
    (checkpoint / MARKER).write_text(canonical_json(digests))
    assert result_of(job).decisions["device"] == "cpu: written by the first start"


def test_what_was_learned_is_what_the_engine_answers_with(tiny_model: Path, whole: Whole) -> None:
    job, result = whole
    examples = [row.messages for row in make_rows(12)]
    before, after = (Engine.load(job.base, adapter, "nf4").answer_losses(examples, 4) for adapter in (None, job.work))
    mean = [sum(loss for loss, _ in found) / sum(count for _, count in found) for found in (before, after)]
    assert mean[0] == pytest.approx(result.curve[0].loss, abs=0.1)
    assert mean[1] == pytest.approx(result.curve[-1].loss, abs=0.25)
    assert mean[1] < mean[0]


def test_an_exploding_loss_is_named(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, tiny_model)
    weights = tmp_path / "broken"
    import shutil

    from safetensors.torch import load_file, save_file

    from tasks.adapters.base_models import resolve

    shutil.copytree(tiny_model, weights)
    tensors = load_file(str(weights / "model.safetensors"))
    tensors["model.norm.weight"] = torch.full_like(tensors["model.norm.weight"], float("nan"))
    save_file(tensors, str(weights / "model.safetensors"), metadata={"format": "pt"})
    with pytest.raises(TrainingFailed, match="no longer a number") as caught:
        run_job(job.model_copy(update={"base": resolve(str(weights))}), NEVER)
    assert caught.value.where == "step 1"


def test_a_digest_is_about_content_only() -> None:
    tensors = {"b": torch.ones(2, dtype=torch.bfloat16), "a": torch.zeros(2, dtype=torch.bfloat16)}
    config = {"r": 4, "base_model_name_or_path": "/here", "peft_version": "1"}
    same = adapter_digest(dict(reversed(tensors.items())), {"r": 4, "base_model_name_or_path": "/there"})
    assert adapter_digest(tensors, config) == same
    assert adapter_digest(tensors, config | {"r": 8}) != same
    assert adapter_digest({**tensors, "a": tensors["a"] + 1}, config) != same


def test_compilation_that_is_not_possible_is_an_error(
    home: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(TrainingFailed, match="compilation was asked for"):
        run_job(make_job(tmp_path, tiny_model, compile="on"), NEVER)
