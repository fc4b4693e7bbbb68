"""The state of every random generator that a training may draw from, as tensors: torch (all devices), Python, numpy."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from tasks.digest import digest_of

RandomState = dict[str, Tensor]


def capture() -> RandomState:
    """The state of all generators of this process."""
    _, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()
    state = {
        "torch/cpu": torch.get_rng_state(),
        "python/words": torch.tensor(words, dtype=torch.int64),
        "python/gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        "numpy/keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "numpy/position": torch.tensor([position, has_gauss], dtype=torch.int64),
        "numpy/cached": torch.tensor([cached], dtype=torch.float64),
    }
    for device in range(torch.cuda.device_count()):
        state[f"torch/cuda/{device}"] = torch.cuda.get_rng_state(device)
    return state


def put_back(state: Mapping[str, Tensor]) -> None:
    """Have all generators go on from this state."""
    torch.set_rng_state(state["torch/cpu"])
    for device in range(torch.cuda.device_count()):
        if f"torch/cuda/{device}" in state:
            torch.cuda.set_rng_state(state[f"torch/cuda/{device}"], device)
    gauss = state["python/gauss"].tolist()
    random.setstate((3, tuple(state["python/words"].tolist()), gauss[0] if gauss else None))
    position, has_gauss = state["numpy/position"].tolist()
    keys = state["numpy/keys"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, position, has_gauss, float(state["numpy/cached"])))


def flat(states: Sequence[RandomState]) -> dict[str, Tensor]:
    """The states of all processes in one mapping."""
    return {f"{rank}/{name}": tensor for rank, state in enumerate(states) for name, tensor in state.items()}


def of_rank(tensors: Mapping[str, Tensor], rank: int, step: int) -> RandomState:
    """The state of one process; a process that was not there before gets one of its own, the same at every try."""
    own = {name.split("/", 1)[1]: tensor for name, tensor in tensors.items() if name.startswith(f"{rank}/")}
    if own:
        return own
    seed = int(digest_of([rank, step])[:8], 16)
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)
    return capture()
