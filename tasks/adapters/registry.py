"""The model registry: versions of adapters with their lineage, and the adapters as they are served.

One version for one adapter digest, however often a registration is repeated or killed: run, version and aliases are
each looked for by that digest before they are made. Weights of base models never go in, only their digests.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, cast

from tasks.adapters import base_models, release_history
from tasks.adapters.claim import claim
from tasks.adapters.registry_client import client, fetch, is_server, registry_errors
from tasks.adapters.registry_runs import ADAPTER_FOLDER, DIGEST_TAG, RegistryEntry, complete_run, said
from tasks.contracts import BaseModelRef, Digest, Quantization, RegisteredModel, ServedModel
from tasks.digest import digest_folder
from tasks.errors import EnvironmentUnusable, ModelUnavailable, UsageError
from tasks.settings import Settings

FILES_TAG = "adapter_files_digest"
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_MODEL_FILES = ("config.json", "model.safetensors")
RETRAIN_TAG = "tuneloop.retrain"
ALIASES = ("champion", "challenger", "previous")
Alias = Literal["champion", "challenger", "previous", ""]


def register(entry: RegistryEntry, adapter: Path) -> RegisteredModel:
    """Write an adapter into the registry, once.

    Args:
        entry: what is written about it; `entry.tags` must hold the lineage that `served` reads.
        adapter: local folder with adapter_model.safetensors and adapter_config.json.
    """
    with claim(Settings().root / "locks" / f"register-{entry.name}.lock", f"registration of {entry.name}"):
        with registry_errors():
            found = _version_of(entry.name, entry.adapter_digest)
            new = found is None
            version = found if found is not None else _create(entry, adapter)
        release_history.note_registration(entry.name, int(version.version), entry.adapter_digest)
        said("history written")
    return _record(version, new=new)


def _create(entry: RegistryEntry, adapter: Path) -> Any:
    tags = {**entry.tags, DIGEST_TAG: entry.adapter_digest, FILES_TAG: _files_digest(adapter)}
    run_id, artifacts = complete_run(entry.model_copy(update={"tags": tags}), adapter)
    if not exists(entry.name):
        client().create_registered_model(entry.name, description=f"Adapters of the project {entry.name}.")
        said("model created")
    source = f"{artifacts.rstrip('/')}/{ADAPTER_FOLDER}"
    made = client().create_model_version(
        entry.name, source=source, run_id=run_id, tags=tags, description=entry.description
    )
    said("version created")
    return made


def exists(name: str) -> bool:
    """Whether a model of this name is registered."""
    return bool(client().search_registered_models(filter_string=f"name = '{name}'", max_results=1))


def registered(name: str, adapter_digest: Digest) -> RegisteredModel | None:
    """The version that holds this adapter, or None."""
    with registry_errors():
        found = _version_of(name, adapter_digest)
    return None if found is None else _record(found, new=False)


def versions(name: str) -> tuple[RegisteredModel, ...]:
    """Every version of a model, oldest first."""
    with registry_errors():
        found = client().search_model_versions(f"name = '{name}'")
    return tuple(_record(version, new=False) for version in sorted(found, key=lambda v: int(v.version)))


def version(name: str, number: int) -> RegisteredModel:
    """A version by its number.

    Raises:
        UsageError: there is no such version.
    """
    for model in versions(name):
        if model.version == number:
            return model
    raise UsageError(
        f"there is no version {number} of this model",
        where=name,
        why="it was never registered",
        remedy=f"tuneloop models list {name} shows every version",
    )


def tags(name: str, version: int) -> dict[str, str]:
    """Lineage of a version: dataset, base, digests."""
    return dict(_version(name, version).tags)


def trained_on(dataset_digests: Collection[Digest]) -> tuple[RegisteredModel, ...]:
    """Every version of any model that was trained on one of these datasets."""
    with registry_errors():
        found = [v for d in sorted(set(dataset_digests)) for v in _tagged("dataset_digest", d)]
    return tuple(_record(version, new=False) for version in found)


def mark_for_retraining(name: str, version: int, why: str) -> None:
    """Tag a version: it was trained on data that is not there any more. It goes on serving until a new one does."""
    with registry_errors():
        client().set_model_version_tag(name, str(version), RETRAIN_TAG, why)
    said(f"version {version} of {name} marked for retraining")


def _tagged(tag: str, value: str) -> Iterator[Any]:
    token: str | None = ""
    while token is not None:
        page = client().search_model_versions(f"tag.{tag} = '{value}'", page_token=token)
        yield from page
        token = page.token or None


def text(name: str, version: int, artifact: str) -> str:
    """Content of a text artifact of a version's run, e.g. model_card.md."""
    found = _version(name, version)
    folder = Settings().root / "cache" / "registry" / found.run_id
    with registry_errors():
        run = client().get_run(found.run_id)
        return fetch(f"{run.info.artifact_uri.rstrip('/')}/{artifact}", folder).read_text(encoding="utf-8")


def set_aliases(name: str, wanted: Mapping[Any, int]) -> None:
    """Make the three aliases of a model name exactly the versions in `wanted`."""
    with registry_errors():
        if not exists(name):
            return
        now = {alias: int(version) for alias, version in client().get_registered_model(name).aliases.items()}
        for alias in ALIASES:
            if alias in wanted and now.get(alias) != wanted[alias]:
                client().set_registered_model_alias(name, alias, str(wanted[alias]))
                said(f"alias {alias} set")
            elif alias not in wanted and alias in now:
                client().delete_registered_model_alias(name, alias)


def served(name: str, alias_or_version: str | int) -> ServedModel | None:
    """A version as it lies on this machine, checked against its digests; None where there is no such version.

    Raises:
        EnvironmentUnusable: the registered adapter is damaged.
        ModelUnavailable: the base model it was trained on is gone, or not the one that its name resolves to now.
    """
    version = _resolve(name, alias_or_version)
    if version is None:
        return None
    lineage = tags(name, version)
    return ServedModel(
        name=name,
        version=version,
        adapter_path=str(_local_adapter(name, version, lineage)),
        adapter_digest=lineage[DIGEST_TAG],
        base=_base(name, version, lineage),
        quantization=cast(Quantization, lineage["quantization"]),
        dataset=lineage["dataset"],
        dataset_uri=lineage["dataset_uri"],
        redacted_entities=tuple(json.loads(lineage["redacted_entities"])),
        phone_regions=tuple(json.loads(lineage["phone_regions"])),
    )


def _resolve(name: str, alias_or_version: str | int) -> int | None:
    """Aliases are resolved from the state database, which the registry's own aliases follow."""
    text_form = str(alias_or_version)
    if text_form.isdigit():
        with registry_errors():
            found = client().search_model_versions(f"name = '{name}' and version_number = {int(text_form)}")
        return int(text_form) if found else None
    if text_form not in ALIASES:
        remedy = f"use a version number or one of {', '.join(ALIASES)}"
        raise UsageError("there is no such alias", where=f"{name}@{text_form}", why="unknown name", remedy=remedy)
    named = release_history.aliases(release_history.champion(name), release_history.history(name))
    return {str(alias): version for alias, version in named.items()}.get(text_form)


def _local_adapter(name: str, version: int, lineage: Mapping[str, str]) -> Path:
    root, digest = Settings().root, lineage[DIGEST_TAG]
    folder = root / "cache" / "adapters" / digest
    with claim(root / "locks" / f"adapter-{digest[:32]}.lock", f"adapter of {name} version {version}"):
        if folder.is_dir() and _files_digest(folder) == lineage[FILES_TAG]:
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        incoming = folder.with_name(f".{digest}")
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir(parents=True)
        with registry_errors():
            copied = fetch(_version(name, version).source, incoming)
        if _files_digest(copied) != lineage[FILES_TAG]:
            raise _damaged(name, version, copied)
        copied.rename(folder)
        shutil.rmtree(incoming, ignore_errors=True)
    return folder


def _damaged(name: str, version: int, folder: Path) -> EnvironmentUnusable:
    return EnvironmentUnusable(
        "the registered adapter is damaged",
        where=f"{name} version {version}",
        why=f"its files ({', '.join(sorted(p.name for p in folder.iterdir()))}) differ from the digest of registration",
        remedy="restore the registry's artifacts, or roll back to another version",
    )


def _base(name: str, version: int, lineage: Mapping[str, str]) -> BaseModelRef:
    remedy = "bring the base model back as it was, or take a version whose base is there"
    try:
        base = base_models.resolve(lineage["base"])
    except ModelUnavailable as error:
        file = "" if error.where == "model.base" else f" ({error.where})"  # the configuration of today is right
        raise ModelUnavailable(
            "the base model of this version cannot be had",
            where=f"{name} version {version}",
            why=f"it was trained on {lineage['base']}: {error.what}{file}; {error.why}",
            remedy=remedy,
        ) from error
    if base.digest != lineage["base_digest"]:
        raise ModelUnavailable(
            "the base model is not the one this version was trained on",
            where=f"{name} version {version}",
            why=f"{lineage['base']} now has digest {base.digest[:12]}, not {lineage['base_digest'][:12]}",
            remedy=remedy,
        )
    return base


def _files_digest(folder: Path) -> Digest:
    """Over the files that make up the adapter, or the fully trained model; notes beside them do not count."""
    whole = (folder / _MODEL_FILES[-1]).is_file()
    return digest_folder(folder, _MODEL_FILES if whole else _ADAPTER_FILES)


def _version(name: str, version: int) -> Any:
    with registry_errors():
        return client().get_model_version(name, str(version))


def _version_of(name: str, digest: Digest) -> Any | None:
    found = client().search_model_versions(f"name = '{name}' and tag.{DIGEST_TAG} = '{digest}'")
    return min(found, key=lambda v: int(v.version)) if found else None


def _record(version: Any, *, new: bool) -> RegisteredModel:
    name, number, settings = version.name, int(version.version), Settings()
    url = settings.mlflow if is_server(settings.mlflow) else settings.mlflow_ui_url
    named = release_history.aliases(release_history.champion(name), release_history.history(name))
    alias = next((str(alias) for alias, holder in named.items() if holder == number), "")
    page = f"{url.rstrip('/')}/#/models/{name}/versions/{number}" if url else ""
    return RegisteredModel(
        name=name,
        version=number,
        alias=cast(Alias, alias),
        run_id=version.run_id,
        adapter_digest=version.tags[DIGEST_TAG],
        new=new,
        url=page,
    )
