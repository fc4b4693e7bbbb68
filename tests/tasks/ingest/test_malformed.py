"""Malformed input of every kind: nothing crashes, nothing hangs, nothing is written elsewhere, no sound row is lost."""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import TuneloopError
from tasks.ingest.archives import unpack
from tasks.ingest.formats import HEAD_BYTES, PACKED, format_of
from tasks.ingest.read import parts, read_records
from tasks.ingest.records import RawRecord, ReadLimits
from tests.tasks.ingest.malformed import FAMILIES, Case, huge

SMALL = ReadLimits(part_bytes=2000, part_records=3, record_bytes=100_000)
MORE_SECONDS, MEANT_FOR = 2.0, 10 << 20  # on a machine that reads so many bytes a second of a sound table
HEALTHY_ROWS = 20_000
CAN_BE_SOUND = ("archives", "documents", "tables", "json_lines")  # a cut or a changed bit can leave sound data behind


def read(path: Path, name: str, work: Path, limits: ReadLimits) -> Iterator[RawRecord]:
    """All records of a file, as the stage reads it; what is refused comes out as a record with a problem."""
    try:
        with path.open("rb") as stream:
            format = format_of(name, stream.read(HEAD_BYTES))
        assert format is not None
        if format in PACKED:
            yield from members(path, name, work, limits)
            return
        for part in parts(path, format, name, "auto", limits):
            yield from read_records(path, format, name, part, limits)
    except TuneloopError as error:
        problem = (error.code, error.what) if error.exit_code in (2, 20) and error.where else None
        yield RawRecord(0, 0, 1, "", None, problem or ("", ""))


def members(path: Path, name: str, work: Path, limits: ReadLimits) -> Iterator[RawRecord]:
    for found in unpack(path, name, work):
        if found.path is not None:
            yield from read(found.path, found.member, work, limits)
        elif found.problem:
            yield RawRecord(found.number, 0, 1, "", None, found.problem)


@functools.cache
def healthy_bytes_a_second() -> float:
    """How fast this machine reads a sound table of short rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "healthy.csv"
        rows = (f"Where is order {number}?,It is on its way.\n" for number in range(HEALTHY_ROWS))
        path.write_text("prompt,completion\n" + "".join(rows), encoding="utf-8")
        start = time.process_time()
        assert sum(record.problem is None for record in read(path, path.name, path, ReadLimits())) == HEALTHY_ROWS
        return path.stat().st_size / (time.process_time() - start)


def check(case: Case, folder: Path, limits: ReadLimits = SMALL) -> int:
    """Read one file and look at what came of it; how many records have a problem."""
    path, work = folder / "source", folder / "work"
    path.write_bytes(case.data)
    work.mkdir(exist_ok=True)
    rate = healthy_bytes_a_second()
    allowed = MORE_SECONDS * max(1.0, MEANT_FOR / rate) + len(case.data) / rate
    start = time.process_time()
    records = list(read(path, case.name, work, limits))
    if "coverage" not in sys.modules:  # which counts every line and so takes a multiple of the time
        assert time.process_time() - start < allowed, "too slow"
    assert {p.name for p in folder.iterdir()} == {"source", "work"}
    sound = [r.value for r in records if r.problem is None]
    for record in records:
        assert record.index >= 0
        assert record.line >= 1
        assert record.problem is None or (record.problem[0] and record.problem[1])
    if case.kept is not None:
        rest = iter(sound)
        assert all(any(row == found for found in rest) for row in case.kept), "a sound row was lost"
        assert not case.exact or len(sound) == len(case.kept), "a row that is none was read"
    for left in work.iterdir():
        left.unlink()
    return sum(record.problem is not None for record in records)


@pytest.mark.parametrize("family", FAMILIES)
def test_malformed_files(family: str, tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    number = 0
    for number, case in enumerate(FAMILIES[family](), 1):
        try:
            problems = check(case, folder)
        except AssertionError as error:
            raise AssertionError(f"case {number}: {case.name} {case.data[:300]!r}: {str(error)[:200]}") from None
        assert problems or family in CAN_BE_SOUND, (number, case.data[:300])
    assert set(tmp_path.iterdir()) == {folder}
    assert number >= 5


def test_there_are_a_thousand_of_them() -> None:
    assert sum(1 for make in FAMILIES.values() for _ in make()) >= 1000


@given(
    st.sampled_from(["x.jsonl", "x.json", "x.csv", "x.md", "x.txt", "x.zip", "x.tar", "x.jsonl.gz", "x.parquet"]),
    st.data(),
)
@settings(deadline=None, max_examples=300)
def test_any_bytes(name: str, data: Any) -> None:
    magic = {"x.zip": b"PK\x03\x04", "x.jsonl.gz": b"\x1f\x8b\x08\x00", "x.parquet": b"PAR1"}.get(name, b"")
    text = st.text(st.sampled_from('{}[]",:\\ntrue1ü \n\r\t>#`'), max_size=200).map(str.encode)
    body = data.draw(st.one_of(st.binary(max_size=400), text))
    with tempfile.TemporaryDirectory() as folder:
        check(Case(name, magic + body, None), Path(folder))


@pytest.mark.slow
def test_records_of_a_hundred_megabytes(tmp_path: Path) -> None:
    for case in huge(100 << 20):
        assert check(case, tmp_path, ReadLimits()) >= 1


BOMB = """
import gzip, io, resource, sys
from pathlib import Path
from tests.tasks.ingest.malformed import Case, bombs, documents, huge
from tests.tasks.ingest.test_malformed import check
cases = [c for c in bombs()] if sys.argv[2] == "bombs" else list(huge(40 << 20))
def peak(who): return resource.getrusage(who).ru_maxrss >> 10
Path("/proc/self/clear_refs").write_text("5")
def now(key): return next(int(l.split()[1]) >> 10 for l in open("/proc/self/status") if l.startswith(key))
start = now("VmRSS")
from tasks.ingest.records import ReadLimits
for case in cases:
    check(case, Path(sys.argv[1]), ReadLimits())
print(now("VmHWM") - start, peak(resource.RUSAGE_CHILDREN))
"""


@pytest.mark.parametrize("kind", ["bombs", pytest.param("huge", marks=pytest.mark.long)])
def test_what_bombs_cost_in_memory(kind: str, tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", BOMB, str(tmp_path), kind]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[0]) <= 512
