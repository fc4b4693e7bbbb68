"""DeepSpeed's ZeRO: gradients and optimiser (stage 2), and the weights too (stage 3), are split over the processes.

DeepSpeed takes the steps; the trainer sees an optimiser that passes them on. Its state, gathered from all processes,
looks like AdamW's, so checkpoints are the same as with every other engine and hold nothing of DeepSpeed's own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tasks.errors import EnvironmentUnusable
from tasks.train.run import Run
from tasks.train.share import Share

_MOMENTS = ("exp_avg", "exp_avg_sq")


def read_settings(engine: str) -> dict[str, Any]:
    """The committed settings of zero2 or zero3."""
    return dict(json.loads(Path(__file__).with_name(f"{engine}.json").read_text(encoding="utf-8")))


class LossModule(torch.nn.Module):
    """A model whose forward pass is an objective's loss: DeepSpeed gathers split weights around a forward pass."""

    def __init__(self, model: Any, objective: Any) -> None:
        super().__init__()
        self.model, self.compute = model, objective.loss

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        loss: Tensor = self.compute(self.model, batch)
        return loss


class ZeroOptimizer(torch.optim.Optimizer):
    """The optimiser as trainer and checkpoints see it: steps are DeepSpeed's, its state is gathered from all."""

    def __init__(self, engine: Any, inner: torch.optim.Optimizer, parameters: Mapping[str, Tensor], run: Run) -> None:
        self.engine, self.run = engine, run
        self._states = _States(inner, list(parameters.values()))
        super().__init__([torch.nn.Parameter(torch.zeros(1))], dict(inner.defaults))
        self.param_groups = inner.param_groups  # the schedule sets the rate in these

    @property
    def state(self) -> Any:
        return self._states

    @state.setter
    def state(self, _empty: Any) -> None:
        """The parent's constructor would put an empty one here."""

    def step(self, *_: Any) -> Any:  # type: ignore[override]
        """DeepSpeed's step: it has the gradients already."""
        self.engine.step()
        self.run.gradient_norm = float(self.engine.get_global_grad_norm())

    def state_dict(self) -> dict[str, Any]:
        """Nothing to be moved to another device: it lies where DeepSpeed has put it."""
        return {"state": {}, "param_groups": []}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The counterpart of `state_dict`."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """DeepSpeed does this after each step."""


class _States(MutableMapping[Tensor, dict[str, Tensor]]):
    """Learned parameter → its whole moments. Reading is a conversation: every process has to do it."""

    def __init__(self, inner: torch.optim.Optimizer, parameters: list[Tensor]) -> None:
        self.inner, self.parameters = inner, parameters

    def __getitem__(self, parameter: Tensor) -> dict[str, Tensor]:
        from deepspeed.utils import safe_get_full_optimizer_state

        moments = {name: safe_get_full_optimizer_state(parameter, name) for name in _MOMENTS}
        return {"step": _counters(self.inner)[0].detach().clone(), **moments}

    def __setitem__(self, parameter: Tensor, state: dict[str, Tensor]) -> None:
        from deepspeed.utils import safe_set_full_optimizer_state

        for name in _MOMENTS:
            safe_set_full_optimizer_state(parameter, state[name].to(parameter.device), name)
        for counter in _counters(self.inner):
            counter.fill_(float(state["step"]))

    def __delitem__(self, parameter: Tensor) -> None:
        raise KeyError(parameter)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)


def start(run: Run, model: Any, optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor]) -> ZeroOptimizer:
    """Hand a model and its optimiser, fresh or filled from a checkpoint, over to DeepSpeed.

    Raises:
        EnvironmentUnusable: DeepSpeed is not installed.
    """
    engine = run.share.engine
    try:
        import deepspeed
    except ImportError as error:
        raise EnvironmentUnusable(
            f"{engine} needs DeepSpeed",
            where="train.engine",
            why="the package deepspeed is not installed",
            remedy="pip install 'tuneloop[gpu]', or set train.engine to fsdp2",
        ) from error
    before = {parameter: dict(optimizer.state.pop(parameter, {})) for parameter in parameters.values()}
    settings = settings_for(engine, run.job.config.max_gradient_norm, parameters.values())
    module = LossModule(model, run.objective)
    tell_deepspeed(run.share)
    ready, _, _, _ = deepspeed.initialize(model=module, optimizer=optimizer, config=settings, dist_init_required=False)
    _make_state(ready, optimizer, run)
    ours = ZeroOptimizer(ready, optimizer, parameters, run)
    for parameter, state in before.items():
        if state:
            ours.state[parameter] = state
    _tell_accelerate_nothing()
    # validation has to gather the weights too
    run.objective.loss = lambda _model, batch: module(batch)  # type: ignore[assignment, method-assign]
    return ours


def tell_deepspeed(share: Share) -> None:
    """Set the environment that DeepSpeed reads all the time. A process sees one GPU, so that is its first.

    Not before the trainer is made: Accelerate would take it for a call to wrap the model.
    """
    os.environ.update({"LOCAL_RANK": "0", "RANK": str(share.rank), "WORLD_SIZE": str(share.size)})


def _tell_accelerate_nothing() -> None:
    for name in ("LOCAL_RANK", "RANK", "WORLD_SIZE"):
        os.environ.pop(name, None)


def settings_for(engine: str, clip: float, learned: Iterable[Tensor]) -> dict[str, Any]:
    """The committed settings, completed by what the training knows.

    Learned parameters stay whole in every process where they are an adapter: small beside the base.
    """
    settings = read_settings(engine) | {"gradient_clipping": clip}
    if engine == "zero3":
        largest = max(parameter.numel() for parameter in learned)
        settings["zero_optimization"]["stage3_param_persistence_threshold"] = largest + 1
    return settings


def backward(engine: Any, loss: Tensor, last: bool) -> None:
    """Gradients of one micro-batch; they are exchanged after the last one of a step."""
    engine.set_gradient_accumulation_boundary(last)
    engine.backward(loss)


def _make_state(engine: Any, optimizer: torch.optim.Optimizer, run: Run) -> None:
    """Have the optimiser make its moments, all zero, by a step that changes nothing: no gradient, no rate."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    with torch.random.fork_rng():
        backward(engine, engine(run.objective.batch([run.examples[0]])) * 0, last=True)
    engine.step()
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    for counter in _counters(optimizer):
        counter.zero_()


def _counters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [state["step"] for state in optimizer.state.values() if "step" in state]
