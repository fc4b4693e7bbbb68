"""Every kind of adapter trains, is saved, loads and answers; and learns what the library's own layers learn."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from tasks.errors import UsageError
from tasks.inference.engine import Engine
from tasks.inference.weights import WHOLE_MODEL
from tasks.train.adapter import CONFIG, WEIGHTS, build
from tasks.train.data import collate
from tasks.train.methods import objective_of, quantization_of
from tasks.train.plan import Decisions, Job
from tasks.train.worker import RESULT, Result, run_job
from tests.tasks.train.test_trainer import stop_at
from tests.tasks.train.training_rows import make_job, make_rows

KINDS: dict[str, dict[str, Any]] = {
    "qlora": {"adapter": "qlora"},
    "lora": {"adapter": "lora"},
    "lora_8bit": {"adapter": "lora_8bit"},
    "dora": {"adapter": "dora"},
    "rslora": {"adapter": "lora", "rslora": True},
    "full": {"adapter": "full", "learning_rate": 1e-3, "precision": "bf16"},
    "full in fp32": {"adapter": "full", "learning_rate": 1e-3, "precision": "fp32"},
    "attention only": {"adapter": "lora", "target_modules": ("q_proj", "v_proj")},
}
Trained = dict[str, tuple[Job, Result]]
NEVER = bool


def settings_of(kind: str) -> dict[str, Any]:
    return {"learning_rate": 5e-3, **KINDS[kind]}


@pytest.fixture(scope="module")
def trained(teachable_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One short training of each kind."""
    done: Trained = {}
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("kinds")
        patch.setenv("TUNELOOP_HOME", str(folder / "home"))
        for kind in KINDS:
            job = make_job(folder / kind.replace(" ", "_"), teachable_model, **settings_of(kind))
            assert run_job(job, NEVER)
            done[kind] = job, Result.model_validate_json((job.work / RESULT).read_text())
    return done


@pytest.mark.parametrize("kind", KINDS)
def test_it_trains_is_saved_loads_and_answers(trained: Trained, kind: str) -> None:
    job, result = trained[kind]
    losses = [point.loss for point in result.curve]
    assert losses[-1] < losses[0] - (0.1 if kind == "attention only" else 0.3)
    engine = Engine.load(job.base, job.work, quantization_of(job.config.adapter))
    found = engine.answer_losses([row.messages for row in make_rows(12)], 4)
    assert sum(loss for loss, _ in found) / sum(n for _, n in found) == pytest.approx(losses[-1], abs=0.2)
    prompts = [row.prompt for row in make_rows(3)]
    assert engine.generate(prompts, 4, 3) == [engine.generate([prompt], 4, 1)[0] for prompt in prompts]


def test_each_kind_is_another_result(trained: Trained) -> None:
    assert len({result.adapter_digest for _, result in trained.values()}) == len(KINDS)


def test_what_lies_in_the_folder(trained: Trained) -> None:
    for kind, (job, _) in trained.items():
        names = {"config.json", WHOLE_MODEL} if kind.startswith("full") else {CONFIG, WEIGHTS}
        assert {path.name for path in job.work.iterdir()} == names | {RESULT}
    whole, dora = (trained[kind][0].work for kind in ("full", "dora"))
    assert {t.dtype for t in load_file(str(whole / WHOLE_MODEL)).values()} == {torch.bfloat16}
    kinds = {name.rsplit(".", 1)[-1]: t.dtype for name, t in load_file(str(dora / WEIGHTS)).items()}
    assert kinds == {"weight": torch.bfloat16, "lora_magnitude_vector": torch.float32}


def test_only_named_layers_are_adapted(trained: Trained) -> None:
    names = load_file(str(trained["attention only"][0].work / WEIGHTS))
    assert {name.split(".")[-3] for name in names} == {"q_proj", "v_proj"}


@pytest.mark.parametrize("kind", ["dora", "lora_8bit", "full", "full in fp32"])
def test_a_stopped_training_goes_on_exactly(
    home: Path, teachable_model: Path, tmp_path: Path, trained: Trained, kind: str
) -> None:
    job = make_job(tmp_path, teachable_model, **settings_of(kind))
    assert not run_job(job, stop_at(3))
    assert run_job(job, NEVER)
    again = Result.model_validate_json((job.work / RESULT).read_text())
    assert again.adapter_digest == trained[kind][1].adapter_digest
    assert again.history == ("interrupted 1×, resumed at step 3",)


@pytest.mark.parametrize("kind", ["dora", "lora_8bit", "full", "full in fp32", "rslora"])
def test_gradients_are_those_of_the_library(home: Path, teachable_model: Path, tmp_path: Path, kind: str) -> None:
    job = make_job(tmp_path, teachable_model, **settings_of(kind))
    ours, plain = (build(job, decisions_of(job)) for _ in range(2))
    for name, parameter in [*ours.named_parameters(), *plain.named_parameters()]:
        if "lora_B" in name:
            torch.nn.init.constant_(parameter, 0.01)
    unfuse(plain)
    objective = objective_of(job.config, 2048, 2)
    examples = objective.examples(tokenizer_of(job), make_rows(4))
    objective.loss(ours, objective.batch(examples)).backward()  # type: ignore[no-untyped-call]
    batch = collate(examples, 2)
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == "full"):
        logits = plain(input_ids=batch["input_ids"]).logits[:, :-1].float()
    torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch["labels"][:, 1:].flatten(), reduction="sum"
    ).backward()  # type: ignore[no-untyped-call]
    found = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    expected = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        share = (found[name] - gradient).norm() / gradient.norm().clamp(min=1e-3)
        assert share < 0.05, name


def decisions_of(job: Job) -> Decisions:
    from tasks.train.plan import Machine, decide
    from tasks.train.shape import read_shape

    machine = Machine(cuda=False, free_bytes=10**12, compiler=False, cores=1)
    return decide(job.config, job.base.parameters, 1000, machine, read_shape(Path(job.base.path)))


def unfuse(model: Any) -> None:
    """Give every module its class's own forward back."""
    for module in model.modules():
        if "forward" in module.__dict__ and not hasattr(module, "layers") and not hasattr(module, "padding_idx"):
            del module.forward


def tokenizer_of(job: Job) -> Any:
    from tasks.tokens import load_tokenizer

    return load_tokenizer(Path(job.base.path))


def test_a_name_that_fits_no_layer_is_refused(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, tiny_model, target_modules=("q_proj", "query"))
    with pytest.raises(UsageError, match="no such layers") as caught:
        run_job(job, NEVER)
    assert "query" in caught.value.why
    assert "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj" in caught.value.remedy


def test_every_weight_of_a_full_training_is_learned(trained: Trained) -> None:
    job, _ = trained["full"]
    before = load_file(str(Path(job.base.path) / "model.safetensors"))
    after = load_file(str(job.work / WHOLE_MODEL))
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[name], after[name]) for name in before)


# --- starting from an earlier result ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["qlora", "dora", "full"])
def test_a_training_starts_from_an_earlier_result(
    home: Path, teachable_model: Path, tmp_path: Path, trained: Trained, kind: str
) -> None:
    before, result = trained[kind]
    job = make_job(tmp_path, teachable_model, **settings_of(kind) | {"learning_rate": 1e-5})
    job = job.model_copy(update={"start": before.work})
    assert run_job(job, NEVER)
    again = Result.model_validate_json((job.work / RESULT).read_text())
    assert again.curve[0].loss == pytest.approx(result.curve[-1].loss, abs=0.3)
    assert again.curve[0].loss < result.curve[0].loss - 0.3


def test_another_shape_to_start_from_is_refused(
    home: Path, teachable_model: Path, tmp_path: Path, trained: Trained
) -> None:
    job = make_job(tmp_path, teachable_model, adapter="lora", rank=8)
    for kind, told in (("lora", "r is 4 there, 8 here"), ("full", "no adapter")):
        with pytest.raises(UsageError, match="cannot start") as caught:
            run_job(job.model_copy(update={"start": trained[kind][0].work}), NEVER)
        assert told in caught.value.why
    whole = make_job(tmp_path / "b", teachable_model, adapter="full")
    with pytest.raises(UsageError, match="cannot start"):
        run_job(whole.model_copy(update={"start": trained["lora"][0].work}), NEVER)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda t: t.popitem(), "is not in it"),
        (
            lambda t: t.update({"base_model.model.model.layers.9.mlp.up_proj.lora_A.weight": torch.ones(4, 64)}),
            "no such",
        ),
        (lambda t: t.update({name: torch.ones(4, 9) for name in list(t)[:1]}), "has the shape (4, 9) there"),
    ],
)
def test_an_adapter_that_fits_in_part_is_refused(trained: Trained, tmp_path: Path, change: Any, why: str) -> None:
    """What is missing would start fresh, and what is too much would be lost; nobody would see either."""
    job, _ = trained["lora"]
    folder = Path(shutil.copytree(job.work, tmp_path / "start"))
    tensors = load_file(str(folder / WEIGHTS))
    change(tensors)
    save_file(tensors, str(folder / WEIGHTS))
    with pytest.raises(UsageError, match="adapter of other layers") as caught:
        build(job.model_copy(update={"start": folder}), decisions_of(job))
    assert why in caught.value.why


def test_layers_that_could_not_be_loaded_again_are_refused(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    """GPT-2's are products with transposed weights: adapted without a word, and read by nothing afterwards."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "gpt2"))
    GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=32, n_head=4, vocab_size=640)).save_pretrained(folder)
    job = make_job(tmp_path, folder, adapter="lora")
    with pytest.raises(UsageError, match="cannot be adapted") as caught:
        build(job, decisions_of(job))
    assert "transformer.h.0.attn.c_attn" in caught.value.why
