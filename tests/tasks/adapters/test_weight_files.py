"""Safetensors files, and what is noted in them."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tasks.adapters.weight_files import notes, sort_notes


def test_the_same_weights_with_the_same_notes_are_the_same_bytes(tmp_path: Path) -> None:
    """Without the sorting, eight files of six notes are equal once in (6!)^7 times."""
    said = {f"näme {i}": f'"{i}"\n' for i in range(6)}
    weights = {"b": torch.arange(3.0), "ä": torch.ones(2, 2, dtype=torch.bfloat16)}
    made = []
    for number in range(8):
        path = tmp_path / f"{number}.safetensors"
        save_file(weights, str(path), metadata=said)
        size = path.stat().st_size
        sort_notes(path)
        assert path.stat().st_size == size
        made.append(path.read_bytes())
    assert len(set(made)) == 1
    assert notes(path) == said
    found = load_file(str(path))
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)
