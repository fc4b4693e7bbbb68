"""What the settings of a base model say, whatever its architecture calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import BloomConfig, Gemma3Config, GPT2Config

from tasks.adapters.model_settings import context_tokens


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        (GPT2Config(n_positions=96), 96),
        (Gemma3Config(text_config={"max_position_embeddings": 160}), 160),
        (BloomConfig(), None),
    ],
)
def test_the_longest_sequence_of_a_model(tmp_path: Path, config: Any, tokens: int | None) -> None:
    config.save_pretrained(tmp_path)
    assert context_tokens(tmp_path) == tokens


def test_the_longest_sequence_of_a_tokenizer_without_a_model(tiny_model: Path, tmp_path: Path) -> None:
    assert context_tokens(tiny_model) == 2048
    assert context_tokens(tmp_path) is None
