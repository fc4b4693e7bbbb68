"""What a model's folder holds, read without any library for it: headers of safetensors files, their index, settings.

A folder is copied, cloned or downloaded by hand: what is damaged is told here, before hours of work begin with it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from tasks.errors import ModelUnavailable

WHOLE = "model.safetensors"  # where it is there, it is what is loaded, and an index beside it is not read
INDEX = "model.safetensors.index.json"
_LENGTH_BYTES = 8
_LARGEST_HEADER = 100_000_000  # what the safetensors library reads at most
_POINTER = b"version https://git-lfs.github.com/spec/"
# What reading JSON raises that is none, or is not made as expected: `[[[[…` is nested too deep.
_UNREADABLE = (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError)


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The files that are loaded, whether they are there or not: the whole model, or the parts that its index names.

    Others, as a model's weights once more in another layout, are nobody's. Empty: the folder holds no weights.

    Raises:
        ModelUnavailable: the index is none.
    """
    if (folder / WHOLE).is_file():
        return (folder / WHOLE,)
    return index_files(folder / INDEX) if (folder / INDEX).is_file() else ()


def index_files(index: Path) -> tuple[Path, ...]:
    """The parts that an index names, beside it.

    Raises:
        ModelUnavailable: it is no index.
    """
    return tuple(index.parent / name for name in sorted(set(_index(index).values())))


def check_weights(folder: Path) -> None:
    """Refuse weights that cannot be loaded, or are not all there.

    Raises:
        ModelUnavailable: naming the file.
    """
    found = {path.name: tensors(path) for path in weight_files(folder) if path.is_file()}
    if WHOLE in found or not (folder / INDEX).is_file():
        return
    for tensor, file in _index(folder / INDEX).items():
        if file not in found:
            raise _unusable(folder / INDEX, f"{file}, which it names, is missing")
        if tensor not in found[file]:
            raise _unusable(folder / INDEX, f"{tensor}, which it names, is not in {file}")


def tensors(path: Path) -> dict[str, int]:
    """Tensors of a safetensors file with their numbers of weights, from its header (8 bytes length, then JSON).

    Raises:
        ModelUnavailable: it is none, it is damaged, or it holds no weights.
    """
    header, rest = _header(path)
    try:
        sizes = {name: _weights(entry) for name, entry in header.items() if name != "__metadata__"}
        end = max((entry["data_offsets"][1] for name, entry in header.items() if name in sizes), default=0)
    except _UNREADABLE as error:
        raise _unusable(path, f"its header is none of a safetensors file: {error}") from error
    if not sum(sizes.values()):
        raise _unusable(path, "it holds no weights")
    if end > rest:
        raise _unusable(path, f"it ends before its weights do: {end:,} bytes of them were written, {rest:,} are there")
    return sizes


def notes(path: Path) -> dict[str, str]:
    """What whoever wrote a safetensors file noted in it beside the tensors.

    Raises:
        ModelUnavailable: it is none.
    """
    noted = _header(path)[0].get("__metadata__")
    return noted if isinstance(noted, dict) else {}


def sort_notes(path: Path) -> None:
    """Put the notes of a safetensors file into the order of their names, in place.

    The library writes them in another order each time; the same weights with the same notes are to be the same bytes.
    """
    header, _ = _header(path)
    header["__metadata__"] = dict(sorted(notes(path).items()))
    with path.open("r+b") as stream:
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) > length:
            raise ValueError(f"the header of {path.name} cannot be written in its {length} bytes")
        stream.write(text.ljust(length))


def json_object(path: Path) -> dict[str, Any]:
    """Content of one of a model's JSON files.

    Raises:
        ModelUnavailable: it is no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except _UNREADABLE as error:
        raise _unusable(path, f"it is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise _unusable(path, "it is no JSON object")
    return content


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file, and how many bytes follow it."""
    try:
        size = path.stat().st_size - _LENGTH_BYTES
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
            if size < 0:
                raise _unusable(path, f"a safetensors file begins with {_LENGTH_BYTES} bytes, it has fewer")
            if length > min(size, _LARGEST_HEADER):
                raise _unusable(path, f"its header would be {length:,} bytes, longer than the file or than is allowed")
            header = json.loads(stream.read(length))
    except _UNREADABLE as error:
        raise _unusable(path, f"its header cannot be read: {error}") from error
    if not isinstance(header, dict):
        raise _unusable(path, "its header is no JSON object")
    return header, size - length


def _weights(entry: dict[str, Any]) -> int:
    """How many weights a tensor has.

    Raises:
        ValueError, TypeError, LookupError: the entry describes none.
    """
    shape, (start, end) = entry["shape"], entry["data_offsets"]
    if not all(isinstance(number, int) and number >= 0 for number in (*shape, start, end - start)):
        raise ValueError("shapes and offsets are whole numbers")
    return math.prod(shape)


def _index(path: Path) -> dict[str, str]:
    """Which file the index names for each tensor."""
    named = json_object(path).get("weight_map")
    if not isinstance(named, dict) or not named or not all(isinstance(file, str) for file in named.values()):
        raise _unusable(path, "it has no weight_map from tensors to files")
    return named


def _unusable(path: Path, why: str) -> ModelUnavailable:
    pointer = _is_pointer(path)
    return ModelUnavailable(
        "a file of the base model cannot be used",
        where=str(path),
        why="it is a pointer of Git LFS: the repository was cloned without its big files" if pointer else why,
        remedy="run `git lfs install` and `git lfs pull` in the model's folder"
        if pointer
        else "copy or download the model's files again",
    )


def _is_pointer(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(len(_POINTER)) == _POINTER
    except OSError:
        return False
