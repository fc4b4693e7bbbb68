"""Going on exactly where a checkpoint stands, and collecting what the next checkpoint holds.

Every tensor keeps the type it is trained in: loaded in another way, adapters come back in another one and drift.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tasks.errors import EnvironmentUnusable
from tasks.train.checkpoint import Groups
from tasks.train.checkpoint_files import read_tensors
from tasks.train.position import Position, layout, objection, plan_digest
from tasks.train.random_state import capture, flat, of_rank
from tasks.train.run import Run
from tasks.train.share import whole

ADAPTER, OPTIMIZER, RANDOM, BEST = "adapter", "optimizer", "random", "best"
Parameters = Mapping[str, torch.nn.Parameter]


def contents(run: Run, parameters: Parameters, optimizer: Any) -> Groups:
    """The tensors of a checkpoint. Every process has to call it; the first one writes them."""
    return {
        ADAPTER: {name: whole(parameter) for name, parameter in parameters.items()},
        OPTIMIZER: {
            f"{field}/{name}": whole(value)
            for name, parameter in parameters.items()
            for field, value in optimizer.state.get(parameter, {}).items()
        },
        RANDOM: flat(run.share.gathered(capture())),
        BEST: run.validation.best,
    }


def save(run: Run, parameters: Parameters, optimizer: Any) -> None:
    """Write a checkpoint of where the training stands. Every process has to call it."""
    groups = contents(run, parameters, optimizer)
    if run.share.main and run.kept:
        run.kept.save(run.position(layout(parameters)), groups, run.decisions)
        run.say({"event": "checkpoint", "step": run.step})
    run.share.barrier()


def put_back(run: Run, parameters: Parameters, optimizer: Any) -> None:
    """Bring the training to where its newest good checkpoint stands, if there is one."""
    _agree(run.share.gathered(run.found.position.step if run.found else 0))
    if run.found is None:
        return
    folder, position, fetched = run.found
    reason = objection(position, plan_digest(run.steps), layout(parameters))
    if reason:
        _set_aside(run, folder.name, reason)
        return
    _fill(parameters, optimizer, read_tensors(folder, ADAPTER), read_tensors(folder, OPTIMIZER))
    run.random_state = of_rank(read_tensors(folder, RANDOM), run.share.rank, position.step)
    run.validation.put_back(position.validation, read_tensors(folder, BEST))
    run.begin(position)
    _tell(run, position, fetched)


def _set_aside(run: Run, name: str, reason: str) -> None:
    """Begin again, and have no later start find these checkpoints before the lower ones that are written now."""
    aside = run.kept.set_aside() if run.share.local_rank == 0 else []
    run.share.barrier()
    run.history.say(
        f"checkpoint {name} was not used: {reason}; the training begins again at its first step; "
        f"what was there is kept until it ends: {', '.join(aside)}"
    )


def _fill(parameters: Parameters, optimizer: Any, learned: Mapping[str, Tensor], states: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(_as(learned[name], parameter))
    for key, value in states.items():
        field, name = key.split("/", 1)
        # A counter of steps has no dimensions and stays where the optimiser made it, which depends on its kind.
        on_device = value if value.dim() == 0 and not optimizer.defaults.get("fused") else value.to(_device(parameters))
        optimizer.state[parameters[name]][field] = _as(on_device, parameters[name]) if value.dim() else on_device


def _tell(run: Run, position: Position, fetched: bool) -> None:
    where = " from the object store" if fetched else ""
    count = run.history.interruptions
    text = f"interrupted {count}×, resumed at step {position.step}{where}"
    run.history.remember(text)
    if position.processes != run.share.size:
        run.history.say(
            f"from step {position.step} on {run.share.size} instead of {position.processes} processes train: the same "
            "rows in the same order, but sums are taken in another order: the result is not the same to the last bit"
        )
    run.say({"event": "resumed", "step": position.step, "interruptions": count, "text": text})


def _agree(steps: list[int]) -> None:
    """All processes must go on from the same checkpoint."""
    if len(set(steps)) > 1:
        raise EnvironmentUnusable(
            "the processes of this training see different checkpoints",
            where="checkpoints",
            why=f"newest good steps: {', '.join(map(str, steps))}",
            remedy="give all machines the same TUNELOOP_HOME, or a store in an object store (TUNELOOP_STORE_URI)",
        )


def _device(parameters: Parameters) -> torch.device:
    return next(iter(parameters.values())).device


def _as(value: Tensor, parameter: Tensor) -> Tensor:
    """A tensor split over the processes as this parameter is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(parameter.data, DTensor):
        return value.to(parameter.device)
    return distribute_tensor(value.to(parameter.device), parameter.data.device_mesh, parameter.data.placements)
