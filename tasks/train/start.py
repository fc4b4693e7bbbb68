"""What a training goes on from: a registered version, or a folder with an adapter or a fully trained model."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from tasks.contracts import BaseModelRef, Digest, Record, ServedModel
from tasks.digest import digest_folder
from tasks.errors import UsageError
from tasks.train.methods import quantization_of
from tasks.train.recipe import Recipe

_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_MODEL_FILES = ("config.json", "model.safetensors")


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
        return Start(folder=folder.resolve(), digest=digest_folder(folder, _files_of(folder)))
    served = _registered(name)
    wanted = quantization_of(recipe.adapter)
    if served.base.digest != base.digest:
        raise _unfit(name, f"it was trained on {served.base.name}, this training is on {base.name}")
    if served.quantization != wanted:
        raise _unfit(name, f"its base weights were stored as {served.quantization}, here they are {wanted}")
    return Start(folder=Path(served.adapter_path), digest=served.adapter_digest)


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
