"""Folders that are kept a second time in an object store, so that another machine can go on with them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import fsspec


class Mirror:
    """Folders below one fsspec URI. A folder counts as there once its marker lies in it; that is written last.

    Args:
        uri: fsspec URI (s3://bucket/prefix, ...); credentials come from the environment.
        marker: name of the file that completes a folder.
    """

    def __init__(self, uri: str, marker: str) -> None:
        self.fs: Any
        self.fs, self.base = fsspec.core.url_to_fs(uri)
        self.marker = marker

    def names(self) -> list[str]:
        """Names of the complete folders, in order."""
        self.fs.invalidate_cache()
        if not self.fs.exists(self.base):
            return []
        found = self.fs.find(self.base)
        return sorted(path.split("/")[-2] for path in found if path.endswith(f"/{self.marker}"))

    def put(self, folder: Path) -> None:
        """Keep a folder; what a killed attempt left under its name goes first."""
        self.remove(folder.name)
        target = f"{self.base}/{folder.name}"
        self.fs.makedirs(target, exist_ok=True)
        for path in sorted(folder.iterdir(), key=lambda path: path.name == self.marker):
            self.fs.put_file(str(path), f"{target}/{path.name}")

    def get(self, name: str, target: Path) -> Path:
        """Bring a folder to `target`, under a temporary name until all of it is there."""
        partial = target.with_name(f".{target.name}.fetched")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for path in self.fs.find(f"{self.base}/{name}"):
            self.fs.get_file(path, str(partial / path.rsplit("/", 1)[-1]))
        shutil.rmtree(target, ignore_errors=True)
        partial.replace(target)
        return target

    def remove(self, name: str) -> None:
        """Remove a folder, its marker first; one that is not there is no error."""
        folder = f"{self.base}/{name}"
        self.fs.invalidate_cache()
        if self.fs.exists(f"{folder}/{self.marker}"):
            self.fs.rm_file(f"{folder}/{self.marker}")
        if self.fs.exists(folder):
            self.fs.rm(folder, recursive=True)

    def put_files(self, folder: Path) -> None:
        """Keep the plain files of a folder beside the folders. A large one that is there already is not sent again."""
        self.fs.makedirs(self.base, exist_ok=True)
        there = self._files()
        sent_always = 1 << 16  # small notes change without changing their size
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                size = path.stat().st_size
                if size <= sent_always or there.get(path.name) != size:
                    self.fs.put_file(str(path), f"{self.base}/{path.name}")

    def read_file(self, name: str) -> bytes:
        """A plain file beside the folders; empty where there is none."""
        path = f"{self.base}/{name}"
        return bytes(self.fs.cat_file(path)) if self.fs.exists(path) else b""

    def get_files(self, folder: Path) -> None:
        """Bring the plain files that lie beside the folders, but for those that are in `folder` already."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in self._files():
            if not (folder / name).exists():
                partial = folder / f".{name}.fetched"
                self.fs.get_file(f"{self.base}/{name}", str(partial))
                partial.replace(folder / name)

    def _files(self) -> dict[str, int]:
        """Name → bytes of the plain files."""
        self.fs.invalidate_cache()
        if not self.fs.exists(self.base):
            return {}
        found = self.fs.ls(self.base, detail=True)
        return {entry["name"].rsplit("/", 1)[-1]: entry["size"] for entry in found if entry["type"] == "file"}

    def remove_all(self) -> None:
        """Remove everything."""
        self.fs.invalidate_cache()
        if self.fs.exists(self.base):
            self.fs.rm(self.base, recursive=True)
