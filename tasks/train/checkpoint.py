"""Checkpoints of a running training: everything that is needed to go on as if nothing had happened.

A checkpoint is a folder with the adapter, the optimiser's moments and the random state (safetensors) and the position
(JSON). It is written under a temporary name, synced, renamed, and only then marked complete with the digests of its
files. Nothing here is ever unpickled.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from tasks.adapters.store import write_atomically
from tasks.contracts import Digest, LossPoint, Record
from tasks.digest import digest_file

if TYPE_CHECKING:
    import torch

MARKER = "_COMPLETE.json"
_TENSORS, _STATE = "tensors.safetensors", "state.json"
_KEPT = 2
_MOMENTS = ("exp_avg", "exp_avg_sq")
log = logging.getLogger("tuneloop.train")


class Position(Record):
    """Where a training stands."""

    key: Digest = Field(description="Identity of the training the checkpoint belongs to.")
    step: int = Field(ge=0, description="Optimiser steps done.")
    tokens: int = Field(ge=0, description="Tokens seen, padding excluded.")
    seconds: float = Field(ge=0, description="Wall seconds of training so far.")
    curve: tuple[LossPoint, ...]


def save(folder: Path, position: Position, parameters: Mapping[str, torch.nn.Parameter], optimizer: Any) -> Path:
    """Write a checkpoint below `folder`; older ones but the last go once it is complete."""
    from safetensors.torch import save_file

    final = folder / f"step-{position.step:08d}"
    temporary = folder / f".{final.name}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file(_tensors(parameters, optimizer), str(temporary / _TENSORS))
    (temporary / _STATE).write_text(position.model_dump_json(), encoding="utf-8")
    digests = {name: digest_file(temporary / name) for name in (_TENSORS, _STATE)}
    for name in digests:
        _sync(temporary / name)
    shutil.rmtree(final, ignore_errors=True)
    temporary.replace(final)
    write_atomically(final / MARKER, json.dumps(digests))
    for old in _newest_first(folder)[_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def _tensors(parameters: Mapping[str, torch.nn.Parameter], optimizer: Any) -> dict[str, torch.Tensor]:
    import torch

    tensors = {"random/cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    for name, parameter in parameters.items():
        tensors[f"adapter/{name}"] = parameter.detach().contiguous()
        state = optimizer.state.get(parameter, {})
        for moment in _MOMENTS:
            if moment in state:
                tensors[f"{moment}/{name}"] = state[moment].contiguous()
    return tensors


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def last_good(folder: Path, key: Digest) -> tuple[Path, Position] | None:
    """The newest complete, undamaged checkpoint of this training; damaged ones are named in the log and passed over."""
    for candidate in _newest_first(folder):
        reason, position = _examine(candidate, key)
        if position is not None:
            return candidate, position
        log.warning("checkpoint %s was not used: %s", candidate.name, reason)
    return None


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _examine(folder: Path, key: Digest) -> tuple[str, Position | None]:
    try:
        digests = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        damaged = [name for name in (_TENSORS, _STATE) if digest_file(folder / name) != digests[name]]
        position = Position.model_validate_json((folder / _STATE).read_text(encoding="utf-8"))
    except (OSError, KeyError, ValueError, ValidationError) as error:
        return f"it is incomplete ({type(error).__name__})", None
    if damaged:
        return f"damaged: {', '.join(damaged)}", None
    if position.key != key:
        return "it belongs to another training (data, base model or configuration differ)", None
    return "", position


def restore(checkpoint: Path, parameters: Mapping[str, torch.nn.Parameter], optimizer: Any, step: int) -> torch.Tensor:
    """Put adapter and optimiser back; every parameter keeps its own type. Returns the random state for the next step.

    Loaded any other way, adapters come back in another type than they were trained in and drift from there.
    """
    import torch
    from safetensors.torch import load_file

    tensors = load_file(str(checkpoint / _TENSORS))
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"adapter/{name}"])
            if f"{_MOMENTS[0]}/{name}" in tensors:
                moments = {moment: tensors[f"{moment}/{name}"].to(parameter.device) for moment in _MOMENTS}
                optimizer.state[parameter] = {"step": torch.tensor(float(step)), **moments}
    if "random/cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random/cuda"])
    state: torch.Tensor = tensors["random/cpu"]
    return state


def remove_all(folder: Path) -> None:
    """Remove all checkpoints, at the end of a training."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
