"""What a training goes on from: a registered version, or a folder with an adapter or a fully trained model."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from tasks.adapters.base_models import HUB_PREFIX, resolve
from tasks.adapters.weight_files import json_object, notes
from tasks.contracts import BaseModelRef, Digest, Record, ServedModel
from tasks.digest import digest_folder
from tasks.errors import ModelUnavailable, UsageError
from tasks.train.methods import quantization_of
from tasks.train.recipe import Recipe

_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_MODEL_FILES = ("config.json", "model.safetensors")
_BASE, _DIGEST, _STORED = "base", "base_digest", "base_stored_as"


class Start(Record):
    """An earlier result on this machine."""

    folder: Path
    digest: Digest = Field(description="Of the adapter as it was registered, or of the folder's files.")


def find_start(recipe: Recipe, base: BaseModelRef) -> Start | None:
    """What `train.start_from` names, or None where nothing is named.

    Raises:
        UsageError: there is no such thing, or it was trained on another base model or other base weights.
    """
    name = recipe.start_from
    if name is None:
        return None
    folder = Path(name).expanduser()
    if folder.is_dir():
        files = _files_of(folder)
        if why := _contradiction(folder, files, recipe, base):
            raise _unfit(name, why)
        return Start(folder=folder.resolve(), digest=digest_folder(folder, files))
    served = _registered(name)
    wanted = quantization_of(recipe.adapter)
    if served.base.digest != base.digest:
        raise _unfit(name, _other_base(served.base.name, base))
    if served.quantization != wanted:
        raise _unfit(name, _other_weights(served.quantization, wanted))
    return Start(folder=Path(served.adapter_path), digest=served.adapter_digest)


def notes_of(recipe: Recipe, base: BaseModelRef) -> dict[str, str]:
    """What is noted in the file of a result, so that it is known wherever its folder is copied to."""
    return {"format": "pt", _BASE: base.name, _DIGEST: base.digest, _STORED: quantization_of(recipe.adapter)}


def _contradiction(folder: Path, files: tuple[str, str], recipe: Recipe, base: BaseModelRef) -> str:
    """Why this training cannot go on from a folder, as far as the folder says what it was made of; empty: it can."""
    try:
        noted = notes(folder / files[1])
        named = str(json_object(folder / files[0]).get("base_model_name_or_path") or "")
    except ModelUnavailable as error:
        return f"{error.where}: {error.why}"
    if noted.get(_DIGEST, base.digest) != base.digest:
        return _other_base(noted.get(_BASE, "another base model"), base)
    wanted = quantization_of(recipe.adapter)
    if noted.get(_STORED, wanted) != wanted:
        return _other_weights(noted[_STORED], wanted)
    return _other_base(named, base) if _DIGEST not in noted and _surely_another(named, base) else ""


def _surely_another(named: str, base: BaseModelRef) -> bool:
    """Whether a name cannot be this base model's: of files, or of a copy under another name, nothing is known."""
    if Path(named).expanduser().is_dir() and named:
        return Path(named).expanduser().resolve() != Path(base.path) and _digest_of(named) not in ("", base.digest)
    both_hub = named.startswith(HUB_PREFIX) and base.name.startswith(HUB_PREFIX)
    return both_hub and named.partition("@")[0] != base.name.partition("@")[0]


def _digest_of(folder: str) -> str:
    """Digest of the base model in a folder; empty: it is none any more."""
    try:
        return resolve(folder).digest
    except ModelUnavailable:
        return ""


def _other_base(name: str, base: BaseModelRef) -> str:
    return f"it was trained on {name}, this training is on {base.name}"


def _other_weights(there: str, here: str) -> str:
    return f"its base weights were stored as {there}, here they are {here}"


def _files_of(folder: Path) -> tuple[str, str]:
    for files in (_ADAPTER_FILES, _MODEL_FILES):
        if all((folder / name).is_file() for name in files):
            return files
    raise _unfit(
        str(folder), f"the folder holds neither {' and '.join(_ADAPTER_FILES)} nor {' and '.join(_MODEL_FILES)}"
    )


def _registered(name: str) -> ServedModel:
    from tasks.adapters import registry

    model, _, alias = name.partition("@")
    served = registry.served(model, int(alias) if alias.isdigit() else alias) if alias else None
    if served is None:
        raise _unfit(name, "it is neither a folder nor a registered version")
    return served


def _unfit(name: str, why: str) -> UsageError:
    return UsageError(
        f"the training cannot start from {name}",
        where="train.start_from",
        why=why,
        remedy="give NAME@champion, NAME@VERSION (`tuneloop models list NAME` shows them), or an adapter's folder",
    )
