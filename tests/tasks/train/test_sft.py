"""Every trick can be switched: alone it has an effect that is seen, and the loss curve stays that of the plain run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.errors import UsageError
from tasks.tokens import Encoded
from tasks.train.adapter import build
from tasks.train.fused import AnswerLoss
from tasks.train.layers import prepare_layers
from tasks.train.llama_layers import is_fused
from tasks.train.methods import objective_of
from tasks.train.plan import Decisions, Job, Machine, decide
from tasks.train.recipe import Recipe
from tasks.train.shape import read_shape
from tasks.train.worker import RESULT, Result, run_job
from tests.tasks.train.training_rows import make_job

PLAIN = {
    "packing": "off",
    "fused_layers": "off",
    "learned_head": "off",
    "compile": "off",
    "activation_checkpointing": "off",
    "expand_nf4": "off",
}
TRICKS: list[dict[str, Any]] = [
    {"packing": "on"},
    {"learned_head": "on"},
    {"activation_checkpointing": "on"},
    {"expand_nf4": "on"},
    {"expand_nf4": "on", "fused_layers": "on"},
    {"expand_nf4": "on", "fused_layers": "on", "packing": "on", "learned_head": "on"},
    {"expand_nf4": "on", "fused_layers": "on", "activation_checkpointing": "on", "packing": "on"},
]
TOLERANCE = 2e-3  # relative; bf16 products are summed in another order


def curve_of(job: Job, stop_asked: Callable[[], bool] = bool) -> tuple[list[float], Result]:
    assert run_job(job, stop_asked)
    result = Result.model_validate_json((job.work / RESULT).read_text())
    return [point.loss for point in result.curve], result


@pytest.fixture(scope="module")
def plain(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The loss curve with every trick off: the library's own layers, loss and 4-bit weights."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("plain")
        patch.setenv("TUNELOOP_HOME", str(folder / "home"))
        return curve_of(make_job(folder, tiny_model, **PLAIN))[0]


@pytest.mark.parametrize("tricks", TRICKS, ids=lambda tricks: "+".join(tricks))
def test_a_trick_leaves_the_loss_curve(
    home: Path, tiny_model: Path, tmp_path: Path, plain: list[float], tricks: dict[str, Any]
) -> None:
    curve, result = curve_of(make_job(tmp_path, tiny_model, **PLAIN | tricks))
    assert curve == pytest.approx(plain, rel=TOLERANCE)
    assert {name: result.decisions[name].split(":")[0] for name in tricks} == tricks


@pytest.mark.slow
def test_compiled_training_is_the_same_and_goes_on_exactly(
    home: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels of fused layers, and whole blocks of others; slow, because each compiles for some twenty seconds."""
    monkeypatch.setenv("TUNELOOP_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    for number, fused in enumerate(("on", "off")):
        switches = {"compile": "on", "fused_layers": fused}
        eager, _ = curve_of(make_job(tmp_path / f"{number}-eager", tiny_model, **switches | {"compile": "off"}))
        curve, result = curve_of(make_job(tmp_path / f"{number}-a", tiny_model, **switches))
        assert curve == pytest.approx(eager, rel=TOLERANCE)
        job = make_job(tmp_path / f"{number}-b", tiny_model, **switches)
        asked: list[int] = []
        assert not run_job(job, lambda seen=asked: seen.append(1) or len(seen) > 3)  # type: ignore[misc]
        again, resumed = curve_of(job)
        assert (again, resumed.adapter_digest) == (curve, result.adapter_digest)
    assert any((tmp_path / "models" / "compiled").rglob("*.cpp"))


def decisions_of(job: Job, **fields: Any) -> Decisions:
    machine = Machine(cuda=False, free_bytes=10**10, compiler=True, cores=2)
    config = Recipe.model_validate(job.config.model_dump() | fields)
    return decide(config, job.base.parameters, 1000, machine, read_shape(Path(job.base.path)), (20, 20))


def test_switches_change_what_computes(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, tiny_model)
    fused = build(job, decisions_of(job, fused_layers="on"))
    plain = build(job, decisions_of(job, fused_layers="off"))
    assert is_fused(fused.get_base_model())
    assert not is_fused(plain.get_base_model())
    again = build(job, decisions_of(job, activation_checkpointing="on")).get_base_model()
    assert again.is_gradient_checkpointing
    assert not fused.get_base_model().is_gradient_checkpointing


def test_checkpointed_activations_are_computed_twice(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    counts = {}
    for switch in ("on", "off"):
        job = make_job(tmp_path / switch, tiny_model)
        decisions = decisions_of(job, activation_checkpointing=switch)
        model, calls = build(job, decisions).train(), list[int]()
        first = model.get_base_model().get_decoder().layers[0].input_layernorm
        first.register_forward_hook(lambda *_, seen=calls: seen.append(1))
        objective = objective_of(job.config, 2048, 2)
        objective.decided(decisions)
        objective.loss(model, objective.batch([example()])).backward()
        counts[switch] = len(calls)
    assert counts == {"on": 2, "off": 1}


def example() -> Encoded:
    return Encoded(list(range(3, 15)), [position > 6 for position in range(12)])


@pytest.mark.parametrize(("switch", "states"), [("on", 5), ("off", None)])
def test_only_learned_tokens_reach_the_head(
    home: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switch: str, states: int | None
) -> None:
    seen: list[int] = []
    whole = AnswerLoss.forward

    def forward(ctx: Any, hidden: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.append(len(hidden))
        return whole(ctx, hidden, *rest)

    monkeypatch.setattr(AnswerLoss, "forward", staticmethod(forward))
    job = make_job(tmp_path, tiny_model)
    decisions = decisions_of(job, learned_head=switch)
    objective = objective_of(job.config, 2048, 2)
    objective.decided(decisions)
    objective.loss(build(job, decisions), objective.batch([example()]))
    assert seen == ([] if states is None else [states])


def test_packing_leaves_no_padding(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, tiny_model)
    short = Encoded([3, 4, 5], [False, True, True])
    sizes = {}
    for switch in ("on", "off"):
        objective = objective_of(job.config, 2048, 2)
        objective.decided(decisions_of(job, packing=switch))
        sizes[switch] = objective.batch([example(), short])["input_ids"].numel()
    assert sizes == {"on": 15, "off": 24}


def test_fused_layers_that_cannot_be_had_are_an_error(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fused layers were asked for"):
        run_job(make_job(tmp_path, tiny_model, fused_layers="on", dropout=0.1), bool)


def test_layers_are_prepared_only_as_decided(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    """A model whose blocks cannot be fused is compiled as a whole block, and packs by the mask of blocks."""
    job = make_job(tmp_path, tiny_model)
    decisions = decisions_of(job, fused_layers="off", compile="on")
    model = build(job, decisions_of(job, fused_layers="off")).get_base_model()
    prepare_layers(model, decisions)
    assert all(layer._compiled_call_impl is not None for layer in model.get_decoder().layers)
