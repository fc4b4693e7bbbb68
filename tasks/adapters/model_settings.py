"""The settings of a base model that its shape follows from, under one set of names for all architectures.

Most models say them in config.json by the names used here. GPT-2 and its like have other names, models that also see
images keep them one level below, and some leave out what has its default value: there transformers' own class of the
configuration is asked, without network and without code of the model's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.adapters.weight_files import json_object
from tasks.errors import ModelUnavailable

_FILE = "config.json"
_SIZES = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size")
_INNER = ("intermediate_size", "ffn_dim", "ffn_hidden_size", "n_inner")
_USUAL_INNER = 4  # times the states' width: what GPT-2, Falcon, Bloom and MPT are where their settings say nothing
_POSITIONS = "max_position_embeddings"
_OTHERS = ("num_key_value_heads", "head_dim", "tie_word_embeddings", "hidden_act", "attention_bias", "mlp_bias")


def model_settings(folder: Path) -> dict[str, Any]:
    """Settings of the language model in a folder; every size is there.

    Raises:
        ModelUnavailable: config.json is damaged, or neither it nor its architecture says how large the model is.
    """
    settings = json_object(folder / _FILE)
    if not _missing(settings):
        return settings
    read = _by_class(folder) | {"architectures": settings.get("architectures")}
    if missing := _missing(read):
        raise _unusable(folder, f"it does not say {', '.join(missing)}")
    return read


def context_tokens(folder: Path) -> int | None:
    """Tokens that the model in a folder was made to read at once; None where it does not say.

    Raises:
        ModelUnavailable: config.json is damaged.
    """
    if not (folder / _FILE).is_file():
        return None
    said: Any = json_object(folder / _FILE).get(_POSITIONS)
    if not _is_size(said):
        said = getattr(_text_config(folder)[1], _POSITIONS, None)
    return said if isinstance(said, int) and _is_size(said) else None


def _missing(settings: dict[str, Any]) -> list[str]:
    return [name for name in _SIZES if not _is_size(settings.get(name))]


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _by_class(folder: Path) -> dict[str, Any]:
    """What transformers makes of the configuration: names translated, defaults filled in, the text part of several."""
    whole, config = _text_config(folder)
    read = {name: getattr(config, name, None) for name in (*_SIZES, *_OTHERS)}
    inner = next((value for name in _INNER if _is_size(value := getattr(config, name, None))), None)
    hidden: Any = read["hidden_size"]
    if inner is None and _is_size(hidden):
        inner = _USUAL_INNER * hidden
    tied = getattr(whole, "tie_word_embeddings", read["tie_word_embeddings"])
    return read | {"intermediate_size": inner, "tie_word_embeddings": tied}


def _text_config(folder: Path) -> tuple[Any, Any]:
    """Configuration of the model in a folder, and that of the part of it that is the language model."""
    from transformers import AutoConfig

    try:
        whole = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        return whole, whole.get_text_config()
    except Exception as error:  # whatever the class of an architecture raises: it cannot read these settings
        raise _unusable(folder, f"transformers cannot read it: {' '.join(str(error).split())[:200]}") from error


def _unusable(folder: Path, why: str) -> ModelUnavailable:
    return ModelUnavailable(
        "the size of the base model is not known",
        where=str(folder / _FILE),
        why=why,
        remedy="use a causal language model of an architecture that transformers knows, with the config.json that "
        "save_pretrained wrote",
    )
