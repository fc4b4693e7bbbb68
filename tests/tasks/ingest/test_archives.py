from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tasks.ingest.archives import Unpacked, UnpackLimits, unpack

ROWS = b'{"a":1}\n' * 3000
LINK = 0o120777 << 16


def zipped(members: dict[str, bytes], links: tuple[str, ...] = ()) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        for name in links:
            info = zipfile.ZipInfo(name)
            info.external_attr = LINK
            archive.writestr(info, "/etc/passwd")
    return made.getvalue()


def tarred(
    members: dict[str, bytes], special: dict[str, bytes] | None = None, format: int = tarfile.PAX_FORMAT
) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=format) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, kind in (special or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    return made.getvalue()


class Unpacker:
    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    def __call__(self, name: str, data: bytes, **limits: Any) -> list[Unpacked]:
        self.count += 1
        work = self.folder / f"work{self.count}"
        work.mkdir()
        source = self.folder / f"source{self.count}"
        source.write_bytes(data)
        found = list(unpack(source, name, work, UnpackLimits(**limits)))
        assert set(work.iterdir()) == {u.path for u in found if u.path}
        assert [u.number for u in found] == list(range(len(found)))
        assert all(bool(u.path) + bool(u.problem) + bool(u.passed_over) == 1 for u in found)
        return found


@pytest.fixture
def unpacked(tmp_path: Path) -> Unpacker:
    return Unpacker(tmp_path)


def codes(found: list[Unpacked]) -> dict[str, str]:
    return {u.member: u.problem[0] if u.problem else u.passed_over or "read" for u in found}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.jsonl.gz", gzip.compress(ROWS)), ("x.jsonl.bz2", bz2.compress(ROWS)), ("x.jsonl.xz", lzma.compress(ROWS)),
        ("all.zip", zipped({"x.jsonl": ROWS})), ("all.tar", tarred({"x.jsonl": ROWS})),
        ("all.tar", tarred({"x.jsonl": ROWS}, format=tarfile.GNU_FORMAT)),
    ],
    ids=("gz", "bz2", "xz", "zip", "tar", "gnu tar"),
)  # fmt: skip
def test_every_packing(unpacked: Unpacker, name: str, data: bytes) -> None:
    (found,) = unpacked(name, data)
    assert (found.member, found.format) == ("x.jsonl", "jsonl")
    assert found.path is not None
    assert found.path.read_bytes() == ROWS


def test_archives_inside_archives(unpacked: Unpacker) -> None:
    inner = io.BytesIO()
    with gzip.GzipFile("x.jsonl", "wb", fileobj=inner) as stream:
        stream.write(ROWS)
    outer = zipped({"inner.gz": inner.getvalue(), "more.tgz": gzip.compress(tarred({"d/y.csv": b"a,b\n1,2\n"}))})
    assert [u.member for u in unpacked("outer.zip", outer)] == ["inner.gz!/x.jsonl", "more.tgz!/more.tar!/d/y.csv"]
    long = tarred({"d" * 200 + "/x.jsonl": ROWS}, format=tarfile.GNU_FORMAT)
    assert unpacked("x.tar", long)[0].member == "d" * 200 + "/x.jsonl"


def test_names_that_lead_out_links_devices_and_hidden_files(unpacked: Unpacker) -> None:
    names = {"../../x.jsonl": "unsafe_path", "/x.jsonl": "unsafe_path", "a/../../x.jsonl": "unsafe_path",
             "..\\x.jsonl": "unsafe_path", "C:\\x.jsonl": "unsafe_path", "__MACOSX/._x.jsonl": "hidden",
             "a/.DS_Store": "hidden", "x.exe": "unknown extension", "ok.jsonl": "read"}  # fmt: skip
    members = dict.fromkeys(names, ROWS)
    assert codes(unpacked("x.zip", zipped(members, ("link.jsonl",)))) == {**names, "link.jsonl": "link"}
    special = {
        "s.jsonl": tarfile.SYMTYPE,
        "h.jsonl": tarfile.LNKTYPE,
        "p.jsonl": tarfile.FIFOTYPE,
        "d.jsonl": tarfile.CHRTYPE,
    }
    expected = {"s.jsonl": "link", "h.jsonl": "link", "p.jsonl": "device", "d.jsonl": "device"}
    assert codes(unpacked("x.tar", tarred(members, special))) == {**names, **expected}


def test_a_member_that_is_not_what_its_name_says(unpacked: Unpacker) -> None:
    found = unpacked("x.zip", zipped({"x.jsonl": b"%PDF-1.4", "y.jsonl": ROWS}))
    assert codes(found) == {"x.jsonl": "wrong_format", "y.jsonl": "read"}


@pytest.mark.parametrize(
    ("name", "data"),
    [("x.zip", zipped({"a.jsonl": ROWS, "b.jsonl": ROWS * 2, "c.csv": bytes(range(256)) * 400})),
     ("x.tar", tarred({"a.jsonl": ROWS, "b.jsonl": ROWS * 2, "c.csv": bytes(range(256)) * 400})),
     ("x.tgz", gzip.compress(tarred({"a.jsonl": ROWS, "b.jsonl": ROWS * 2, "c.csv": bytes(range(256)) * 400}), 0))],
    ids=("zip", "tar", "tgz"),
)  # fmt: skip
def test_what_comes_before_a_cut_is_kept(unpacked: Unpacker, name: str, data: bytes) -> None:
    for share in (0.2, 0.4, 0.6, 0.8):
        found = unpacked(name, data[: int(len(data) * share)])
        assert any(u.problem for u in found)
        for u in found:
            if u.path:
                whole = {"a.jsonl": ROWS, "b.jsonl": ROWS * 2}.get(u.member.split("!/")[-1], bytes(range(256)) * 400)
                assert whole.startswith(u.path.read_bytes())
    first = next(u.path for u in found if u.path)
    assert first.read_bytes() == ROWS


def test_a_changed_byte_is_found(unpacked: Unpacker) -> None:
    packed = bytearray(gzip.compress(ROWS))
    packed[-6] ^= 1
    assert codes(unpacked("x.jsonl.gz", bytes(packed))) == {"x.jsonl": "damaged"}
    archive = bytearray(zipped({"a.jsonl": ROWS, "b.jsonl": ROWS}))
    archive[50] ^= 1
    assert codes(unpacked("x.zip", bytes(archive))) == {"a.jsonl": "damaged", "b.jsonl": "read"}
    tape = bytearray(tarred({"a.jsonl": ROWS, "b.jsonl": ROWS}))
    tape[512 + 24_064 + 10] ^= 1
    assert codes(unpacked("x.tar", bytes(tape))) == {"a.jsonl": "read", "": "damaged"}


def test_an_encrypted_member(unpacked: Unpacker) -> None:
    data = bytearray(zipped({"a.jsonl": ROWS}))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert codes(unpacked("x.zip", bytes(data))) == {"a.jsonl": "encrypted"}


def test_bombs_are_stopped_and_leave_nothing(unpacked: Unpacker) -> None:
    zeros = gzip.compress(bytes(20 << 20))
    limits = {"free_bytes": 1 << 20}
    assert codes(unpacked("x.jsonl.gz", zeros, **limits)) == {"x.jsonl": "bomb"}
    archive = zipped({"good.jsonl": ROWS, **{f"{i}.jsonl": bytes(20 << 20) for i in range(9)}, "z.jsonl": ROWS})
    found = codes(unpacked("x.zip", archive, **limits))
    assert found["good.jsonl"] == "read"
    assert set(found.values()) == {"read", "bomb"}
    nested = zipped({f"{i}.zip": zipped({"x.jsonl": bytes(9 << 20)}) for i in range(20)})
    assert "bomb" in codes(unpacked("x.zip", nested, **limits)).values()
    assert codes(unpacked("x.jsonl.gz", gzip.compress(ROWS), max_total_bytes=5000)) == {"": "bomb"}
    assert codes(unpacked("x.jsonl.gz", gzip.compress(ROWS), max_member_bytes=5000)) == {"x.jsonl": "bomb"}


def test_numbers_depth_and_headers_are_limited(unpacked: Unpacker) -> None:
    members = {f"{i}.jsonl": ROWS for i in range(9)}
    assert codes(unpacked("x.tar", tarred(members), max_members=3))[""] == "too_many_members"
    assert codes(unpacked("x.zip", zipped(members), max_members=3)) == {"": "too_many_members"}
    deep = ROWS
    for _ in range(6):
        deep = gzip.compress(deep)
    (found,) = unpacked("x.jsonl" + ".gz" * 6, deep)
    assert found.problem is not None
    assert found.problem[0] == "too_deep"
    huge = tarfile.TarInfo("x")
    huge.type, huge.size = tarfile.XHDTYPE, 1 << 32
    assert codes(unpacked("x.tar", huge.tobuf(tarfile.USTAR_FORMAT))) == {"": "damaged"}
