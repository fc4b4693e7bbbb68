"""Bad input: one clear coded error with the remedy and the right exit code, no traceback, nothing lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.commands import processes_of, run_json, tuneloop
from tests.tiny_project import make_project

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]


def says(done: subprocess.CompletedProcess[str], exit_code: int, *texts: str) -> None:
    assert done.returncode == exit_code, done.stderr
    assert "Traceback" not in done.stderr
    for text in texts:
        assert text in done.stderr


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "content", "text"),
    [("empty.jsonl", b"", "empty"), ("binary.jsonl", bytes(range(256)) * 64, "binary")],
)
def test_files_that_cannot_be_data_are_refused(
    tmp_path: Path, teachable_model: Path, run_database: Path, name: str, content: bytes, text: str
) -> None:
    config = make_project(tmp_path / "project", teachable_model)
    shutil.copytree(run_database, config.parent / ".tuneloop" / "prefect")
    (config.parent / name).write_bytes(content)
    config.write_text(config.read_text().replace("path: train.jsonl", f"path: {name}"))
    outcome, done = run_json(config)
    assert (outcome["status"], done.returncode) == ("data_refused", 20), done.stderr
    told = " ".join(outcome["reasons"])
    assert text in told
    assert name in told
    assert "Traceback" not in done.stderr
    assert processes_of(config.parent) == []


@pytest.mark.slow
def test_lines_that_are_not_utf8_are_quarantined(tmp_path: Path, teachable_model: Path) -> None:
    config = make_project(tmp_path / "project", teachable_model)
    with (config.parent / "train.jsonl").open("ab") as stream:
        stream.write(b'{"messages": [{"role": "user", "content": "caf\xe9 au lait"}]}\n')
    done = tuneloop("data", "prepare", str(config), "--json")
    assert done.returncode == 0, done.stderr
    assert '"invalid_utf8": 1' in done.stdout


def test_a_misspelt_key_names_line_and_close_key(tmp_path: Path, teachable_model: Path) -> None:
    config = make_project(tmp_path / "project", teachable_model)
    config.write_text(config.read_text().replace("  batch_rows: 8\n", "  batchrows: 8\n"))
    says(tuneloop("run", str(config)), 2, "TL-USAGE", "train.batchrows", "did you mean `batch_rows`?")


def test_an_unknown_model_is_not_substituted(tmp_path: Path) -> None:
    config = make_project(tmp_path / "project", Path("smollm3-135m"))
    says(tuneloop("run", str(config)), 2, "TL-MODEL", "smollm3-135m", "smollm2-135m")


def test_a_missing_file_is_named(tmp_path: Path, teachable_model: Path) -> None:
    config = make_project(tmp_path / "project", teachable_model)
    (config.parent / "train.jsonl").unlink()
    says(tuneloop("run", str(config)), 2, "TL-USAGE", "train.jsonl")


def test_a_used_port_that_was_asked_for(tmp_path: Path, teachable_model: Path) -> None:
    import socket

    config = make_project(tmp_path / "project", teachable_model)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        says(tuneloop("up", str(config), "--prefect-port", str(port)), 50, "TL-ENV", str(port), "--prefect-port")
    tuneloop("down", str(config))
    assert processes_of(config.parent) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for some stages, not for all."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=320m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk(tmp_path: Path, teachable_model: Path, small_disk: Path) -> None:
    config = make_project(tmp_path / "project", teachable_model)
    home = small_disk / "home"
    (small_disk / "ballast").write_bytes(b"x" * (150 << 20))
    says(tuneloop("run", str(config), TUNELOOP_HOME=str(home)), 50, "TL-ENV", "disk", "TUNELOOP_HOME")
    (small_disk / "ballast").unlink()
    assert tuneloop("data", "prepare", str(config), TUNELOOP_HOME=str(home)).returncode == 0
    fill(small_disk / "ballast")
    done = tuneloop("run", str(config), TUNELOOP_HOME=str(home))
    says(done, 50, "TL-ENV", "disk")
    (small_disk / "ballast").unlink()
    assert (
        tuneloop("data", "verify", "ds://tiny/main", "--config", str(config), TUNELOOP_HOME=str(home)).returncode == 0
    )


def fill(path: Path) -> None:
    """Write until no byte fits any more. Unbuffered: closing has nothing left to write, which would fail as well."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as stream:
        while True:
            stream.write(b"x" * (1 << 16))
