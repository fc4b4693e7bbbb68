"""What the model gave each answer before training: computed once, kept beside the checkpoints.

A resumed training reads the numbers back. Computed again after an interruption they would still be those of the model
at its start, but another batch or another number of threads can change the last bits, and with them every later step.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.adapters.store import write_atomically
from tasks.digest import digest_file, digest_of
from tasks.tokens import Encoded

if TYPE_CHECKING:
    from torch import Tensor

_BATCH_TOKENS = 4096
log = logging.getLogger("tuneloop.train")


def sequence_key(example: Encoded) -> str:
    """Identity of a sequence and of what is learned in it."""
    return digest_of([example.input_ids, example.learned])


def reference_log_probs(
    model: Any, sequences: Iterable[Encoded], collate: Callable[[Sequence[Encoded]], dict[str, Tensor]], folder: Path
) -> dict[str, float]:
    """Sequence key → summed log-probability of its learned tokens under the model as it is now.

    Args:
        folder: where the numbers are kept; what lies there and is undamaged is read instead of computed.
    """
    known = {sequence_key(example): example for example in sequences}
    keys = sorted(known)
    file = folder / f"reference-{digest_of(keys)[:16]}.safetensors"
    found = _read(file)
    if found is None:
        found = _compute(model, [known[key] for key in keys], collate)
        _write(file, found)
    return dict(zip(keys, found, strict=True))


def _compute(
    model: Any, examples: Sequence[Encoded], collate: Callable[[Sequence[Encoded]], dict[str, Tensor]]
) -> list[float]:
    import torch

    from tasks.train.log_probs import answer_log_probs

    found = [0.0] * len(examples)
    training = model.training
    model.eval()
    with torch.no_grad():
        for rows in batches([len(example.input_ids) for example in examples]):
            batch = collate([examples[row] for row in rows])
            sums, _ = answer_log_probs(model, batch["input_ids"], batch["labels"])
            for row, value in zip(rows, sums.float().tolist(), strict=True):
                found[row] = value
    model.train(training)
    return found


def batches(lengths: Sequence[int]) -> list[list[int]]:
    """Rows of similar length together, at most so many that a padded batch holds `_BATCH_TOKENS` tokens."""
    made: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: (lengths[row], row)):
        if not made or (len(made[-1]) + 1) * lengths[row] > _BATCH_TOKENS:
            made.append([])
        made[-1].append(row)
    return made


def _write(file: Path, values: Sequence[float]) -> None:
    """The marker with the file's digest comes last, so that a torn file is never taken."""
    import torch
    from safetensors.torch import save_file

    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    save_file({"log_probs": torch.tensor(list(values), dtype=torch.float32)}, str(temporary))
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    temporary.replace(file)
    write_atomically(file.with_suffix(".json"), json.dumps({"digest": digest_file(file)}))


def _read(file: Path) -> list[float] | None:
    from safetensors.torch import load_file

    try:
        digest = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))["digest"]
        if digest_file(file) != digest:
            log.warning("the reference %s is damaged and is computed again", file.name)
            return None
    except (OSError, ValueError, KeyError):
        return None
    values: list[float] = load_file(str(file))["log_probs"].tolist()
    return values
