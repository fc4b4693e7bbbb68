"""Base models: a name becomes a folder with safetensors, tokenizer and chat template, identified by its content.

Three sources that are never confused with one another: built in (a package of the user's own index), a hub id with
its revision (`hf:owner/name@revision`), a local folder. A model that cannot be had is an error; nothing replaces it.
No function here imports torch: the conversion runs in a process of its own.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from tasks.adapters.built_in_models import BUILT_IN, built_in_at_hand, built_in_folder
from tasks.adapters.model_settings import model_settings
from tasks.adapters.store import write_atomically
from tasks.adapters.weight_files import INDEX, WHOLE, check_weights, index_files, json_object, tensors, weight_files
from tasks.contracts import BaseModelRef, Digest
from tasks.digest import digest_file, digest_of
from tasks.errors import ModelUnavailable
from tasks.settings import Settings

HUB_PREFIX = "hf:"
_HUB_NAME = re.compile(r"^(?P<repo>[\w.-]+/[\w.-]+)@(?P<revision>[\w./-]+)$")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
)
# What differs between two conversions of the same model without changing what it computes.
_INCIDENTAL_KEYS = frozenset({"_name_or_path", "transformers_version"})
_HUB_FILES = (WHOLE, INDEX, "config.json", *_TOKENIZER_FILES)


def check_name(name: str) -> None:
    """Refuse a name that cannot be a base model, without fetching anything.

    Raises:
        ModelUnavailable: neither built in, nor a hub id, nor an existing folder.
    """
    if name not in BUILT_IN and not name.startswith(HUB_PREFIX) and not Path(name).expanduser().is_dir():
        raise _unknown(name)


def resolve(name: str) -> BaseModelRef:
    """The base model of this name, fetched and converted if it is not there yet.

    Raises:
        ModelUnavailable: unknown name, unreachable source, a damaged or incomplete folder.
    """
    check_name(name)
    if name in BUILT_IN:
        folder = built_in_folder(name)
    elif name.startswith(HUB_PREFIX):
        folder = _hub_folder(name)
    else:
        folder = Path(name).expanduser().resolve()
    _check_complete(folder, name)
    return _reference(name, folder)


def parameters_at_hand(name: str) -> int | None:
    """Weights of a base model that lies on this machine; None where it would have to be fetched or made first.

    Raises:
        ModelUnavailable: its files are damaged.
    """
    if name in BUILT_IN:
        folder = built_in_at_hand(name)
    elif name.startswith(HUB_PREFIX):
        folder = _hub_folder_at_hand(name)
    else:
        folder = Path(name).expanduser()
    files = weight_files(folder) if folder else ()
    return sum(map(_count_parameters, files)) if files and all(file.is_file() for file in files) else None


def _hub_folder_at_hand(name: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    match = _HUB_NAME.match(name.removeprefix(HUB_PREFIX))
    if match is None:
        return None
    try:
        return Path(snapshot_download(match["repo"], revision=match["revision"], local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _unknown(name: str) -> ModelUnavailable:
    close = difflib.get_close_matches(name, BUILT_IN, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return ModelUnavailable(
        f"there is no base model {name!r}",
        where="model.base",
        why="it is neither a built-in name, nor a hub id that starts with hf:, nor an existing folder",
        remedy=f"{hint}possible are: {', '.join(BUILT_IN)} (built in), hf:owner/name@revision, or the path of a folder "
        "with config.json, *.safetensors, tokenizer.json and a chat template",
    )


def _hub_folder(name: str) -> Path:
    """Folder of a hub snapshot, in the hub client's own cache. Only what is loaded is fetched: no second layout."""
    match = _HUB_NAME.match(name.removeprefix(HUB_PREFIX))
    if match is None:
        raise ModelUnavailable(
            f"{name!r} is no complete hub id",
            where="model.base",
            why="a hub model is only the same model tomorrow if its revision is given",
            remedy="write hf:owner/name@revision, the revision being a commit hash (or a tag)",
        )
    folder = _fetch(match, _HUB_FILES)
    if (folder / WHOLE).is_file() or not (folder / INDEX).is_file():
        return folder
    return _fetch(match, [*_HUB_FILES, *(file.name for file in index_files(folder / INDEX))])


def _fetch(match: re.Match[str], files: Sequence[str]) -> Path:
    """The folder of a hub snapshot with these files of it, as far as there are such."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(match["repo"], revision=match["revision"], allow_patterns=list(files)))
    except Exception as error:
        # The client raises a wide range of errors of its own and of its HTTP library; all mean: it cannot be had.
        raise ModelUnavailable(
            f"the hub model {match['repo']} at {match['revision']} cannot be had",
            where="model.base",
            why=f"{type(error).__name__}: {_first_sentence(str(error))}",
            remedy="check name, revision and network (HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE), or put the model into a "
            f"folder and give its path; built in are: {', '.join(BUILT_IN)}",
        ) from error


def _first_sentence(text: str) -> str:
    return " ".join(text.split())[:200]


def _check_complete(folder: Path, name: str) -> None:
    missing = [part for part in ("config.json", "tokenizer.json") if not (folder / part).is_file()]
    if not weight_files(folder):
        missing.append(f"{WHOLE}, or {INDEX} with its parts (pickled weights are never loaded)")
    if not _has_template(folder):
        missing.append("a chat template (chat_template.jinja, or chat_template in tokenizer_config.json)")
    if missing:
        raise ModelUnavailable(
            f"{name} is not a complete instruct model",
            where=str(folder),
            why=f"missing: {'; '.join(missing)}",
            remedy="use an instruct model saved with save_pretrained (model and tokenizer) in one folder",
        )
    check_weights(folder)
    model_settings(folder)


def _has_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    settings = folder / "tokenizer_config.json"
    return settings.is_file() and bool(json_object(settings).get("chat_template"))


def _reference(name: str, folder: Path) -> BaseModelRef:
    """Digests of the folder's content; remembered by file sizes and times, so that big weights are read once."""
    beside = [p for p in folder.iterdir() if p.is_file() and _is_beside(p.name)]
    files = sorted([*weight_files(folder), *beside])
    state = [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in files]
    note = Settings().models / "digests" / f"{digest_of(str(folder))[:32]}.json"
    known = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
    if known.get("state") != state:
        known = {"state": state, **_digests(files)}
        write_atomically(note, json.dumps(known))
    return BaseModelRef(
        name=name,
        path=str(folder),
        digest=known["digest"],
        tokenizer_digest=known["tokenizer_digest"],
        parameters=known["parameters"],
    )


def _is_beside(file_name: str) -> bool:
    return file_name == "config.json" or file_name in _TOKENIZER_FILES


def _digests(files: list[Path]) -> dict[str, str | int]:
    every = [[p.name, _content_digest(p)] for p in files]
    tokenizer = [pair for pair in every if pair[0] in _TOKENIZER_FILES]
    weights = [p for p in files if p.suffix == ".safetensors"]
    return {
        "digest": digest_of(every),
        "tokenizer_digest": digest_of(tokenizer),
        "parameters": sum(map(_count_parameters, weights)),
    }


def _content_digest(path: Path) -> Digest:
    """Digest of a file; of JSON its canonical form without the keys that say where and by what it was written."""
    if path.suffix != ".json":
        return digest_file(path)
    content = json_object(path)
    if path.name == "config.json":
        content = {key: value for key, value in content.items() if key not in _INCIDENTAL_KEYS}
    return digest_of(content)


def _count_parameters(path: Path) -> int:
    return sum(tensors(path).values())
