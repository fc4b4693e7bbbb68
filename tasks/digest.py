"""Canonical content digests: the only place that decides what "the same" means.

A digest is the SHA-256, in lower-case hex, of a canonical form: UTF-8 JSON with sorted keys, no insignificant
white space and no NaN. Text is not normalised here; a stage that considers two texts the same normalises first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

_CHUNK_BYTES = 1 << 20


def canonical_json(value: Any) -> str:
    """JSON text that is equal exactly when the values are equal."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def digest_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digest_of(value: Any) -> str:
    """Digest of a JSON-able value or a pydantic record."""
    return digest_bytes(canonical_json(value).encode("utf-8", "surrogatepass"))


def digest_file(path: Path) -> str:
    """Digest of a file's bytes, read in pieces of 1 MiB."""
    sha = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            sha.update(chunk)
    return sha.hexdigest()


def digest_folder(folder: Path, names: Iterable[str] | None = None) -> str:
    """Digest over the relative names and contents of a folder's files (all of them, or only `names`)."""
    files = sorted(names) if names is not None else _files_below(folder)
    return digest_of([[name, digest_file(folder / name)] for name in files])


def _files_below(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
