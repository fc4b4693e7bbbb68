"""What the machine says of itself, and what is read where it says nothing."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from tasks.adapters.devices import (
    available_bytes,
    cpu_multiplies_bf16,
    cpu_name,
    gpu_names,
    peak_bytes,
    reset_peak,
    resident_bytes,
)


def test_gpus_are_named_by_their_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for number in range(2):
        folder = tmp_path / f"0000:0{number}:00.0"
        folder.mkdir()
        (folder / "information").write_text("Model: \t\t NVIDIA H200\nIRQ:   \t 104\n", encoding="utf-8")
    assert gpu_names(tmp_path) == ("NVIDIA H200", "NVIDIA H200")
    assert gpu_names(tmp_path / "none") == ()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu_names(tmp_path) == ()


def test_a_cpu_has_a_name_and_cores(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor : 0\nmodel name\t: AMD EPYC 9B14\n", encoding="utf-8")
    assert cpu_name(info).startswith("cpu AMD EPYC 9B14, ")
    assert cpu_name(tmp_path / "none").startswith("cpu ")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fma avx2", False),
        ("avx512f avx512_bf16", True),
        ("avx512f amx_bf16 amx_tile", True),
        ("avx512f", False),
        ("", False),
    ],
)
def test_bf16_is_multiplied_where_there_are_instructions_for_it(tmp_path: Path, flags: str, expected: bool) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(
        f"model name\t: avx512_bf16 in a name\nflags\t\t: fpu {flags}\nbugs\t: amx_bf16\n", encoding="utf-8"
    )
    assert cpu_multiplies_bf16(info) is expected
    assert not cpu_multiplies_bf16(tmp_path / "none")


def test_the_limit_of_a_group_counts(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("0::/pod\n", encoding="ascii")
    folder = tmp_path / "groups" / "pod"
    folder.mkdir(parents=True)
    (folder / "memory.current").write_text("3000000\n", encoding="ascii")
    (folder / "memory.stat").write_text("anon 1\ninactive_file 500000\n", encoding="ascii")
    (folder / "memory.max").write_text("4000000\n", encoding="ascii")
    assert available_bytes(tmp_path / "groups", own) == 1_500_000
    (folder / "memory.max").write_text("max\n", encoding="ascii")
    assert available_bytes(tmp_path / "groups", own) > 10_000_000
    assert available_bytes(tmp_path / "none", tmp_path / "none") > 10_000_000


def test_the_peak_is_counted_from_its_reset() -> None:
    assert reset_peak()
    before = resident_bytes()
    # A mapping of its own, filled in small pieces: blocks that the allocator has kept from earlier tests are used again
    # without a new page, and those that it has trimmed stay with it once they have pages again.
    with mmap.mmap(-1, 60_000_000) as held:
        for _ in range(60):
            held.write(b"x" * 1_000_000)
        assert peak_bytes() - before > 50_000_000
    reset_peak()
    assert peak_bytes() < before + 30_000_000


def test_only_the_gpus_that_may_be_used_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for bus in ("a", "b", "c"):
        (tmp_path / bus).mkdir()
        (tmp_path / bus / "information").write_text("Model:  NVIDIA H200\n", encoding="utf-8")
    for visible, count in ((None, 3), ("2", 1), ("0,1", 2), ("", 0), ("-1", 0)):
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert len(gpu_names(tmp_path)) == count
