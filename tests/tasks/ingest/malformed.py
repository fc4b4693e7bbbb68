"""Makes malformed files of every kind, each with the rows that have to survive."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

ROWS: tuple[dict[str, Any], ...] = tuple(
    {"prompt": f"Where is order {n}, and when does it come?", "completion": f"It is on its way; day {n}: ü"}
    for n in range(6)
)
TEXTS = tuple(json.dumps(row, ensure_ascii=False) for row in ROWS)
NESTED = ('{"a":' * 5000 + "null" + "}" * 5000, "[" * 5000 + "null" + "]" * 5000, "[" * 60_000, '{"a":[' * 900 + "null")
BROKEN_JSON = (
    '{"prompt": "x", "completion": NaN}', '{"prompt": Infinity, "completion": "y"}', '{"prompt": "x", "a": -Infinity}',
    '{"prompt": "x", "prompt": "y", "completion": "z"}', '{"prompt": {"a": 1, "a" : 2}}', '{"prompt": "x" "a": "y"}',
    '{"prompt": "x", }', "{'prompt': 'x'}", '{prompt: "x"}', '{"prompt": "x"', '{"prompt": "x', '"prompt": "x"}',
    "{", "}", "nul", "undefined", '{"prompt": 01}', '{"prompt": 1e999}', '{"prompt": "\\x"}', '{"prompt": "\\u12"}',
    '{"prompt": "tab\there"}', '{"prompt": 1' + "0" * 5000 + "}", "<html>", "// comment", '{"prompt":}', "{]",
    '{"prompt": "x"} {"prompt": "y"}', *NESTED,
)  # fmt: skip
BROKEN_ELEMENTS = tuple(
    e for e in BROKEN_JSON if e not in ("}", '"prompt": "x"}', "// comment", '{"prompt": "x"} {"prompt": "y"}')
)  # what does not end or begin a list by itself
BROKEN_BYTES = tuple(
    bytes.fromhex(text)
    for text in (
        "80", "bf", "c0", "c1bf", "c3", "c328", "e2", "e282", "e228a1", "e28228", "eda080", "edbfbf", "f0", "f09f98",
        "f0288cbc", "f490bfbf", "f8888080", "fc848080", "fe", "ff", "fffe", "e4f6fc", "a0a1", "c0af", "e080af",
        "f08080af", "93fa94", "8081",
    )
)  # fmt: skip
BROKEN_CSV = ('"never closed,x', "only one", "a,b,c", '"x","y","z"', ",,,", '"', '"a""', 'x",","y', '"""a,"""b', ";;")
FORMULAS = ('=cmd|"/c calc"!A1', "+1+1", "-2+3", "@SUM(A1:A9)", '=HYPERLINK("http://x","y")', "\t=1")


class Case(NamedTuple):
    """A malformed file.

    Attributes:
        kept: rows that must be among those read, in this order; None where the whole file may be refused.
        exact: whether no other row may be read.
    """

    name: str
    data: bytes
    kept: tuple[dict[str, Any], ...] | None
    exact: bool = True


def json_lines() -> Iterator[Case]:
    """Every broken line at every place; every cut of a short file."""
    for broken in BROKEN_JSON:
        for at in range(0, len(TEXTS) + 1, 2):
            lines = [*TEXTS[:at], broken, *TEXTS[at:]]
            yield Case("x.jsonl", "\n".join(lines).encode(), ROWS)
    whole = "\n".join(TEXTS[:3]).encode()
    for end in range(1, len(whole), 2):
        yield Case("x.jsonl", whole[:end], ROWS[: _complete(whole, end)])


def _complete(whole: bytes, end: int) -> int:
    """How many lines of the whole are there up to a cut."""
    return whole[:end].count(b"\n") + (whole[end : end + 1] == b"\n")


def json_lists() -> Iterator[Case]:
    for broken in BROKEN_ELEMENTS:
        for at in (0, 3, 6):
            items = [*TEXTS[:at], broken, *TEXTS[at:]]
            yield Case("x.json", f"[{', '.join(items)}]".encode(), ROWS)
            if at == 0 and broken == NESTED[-1]:
                continue  # what closes the object closes its open lists too: the rows are inside them then
            yield Case("x.json", ('{"rows": [\n' + ",\n".join(items) + "\n]}").encode(), ROWS, exact=False)
    whole = f"[{','.join(TEXTS[:3])}]".encode()
    for end in range(2, len(whole) - 1, 2):
        kept = sum(end >= whole.index(text.encode()) + len(text.encode()) for text in TEXTS[:3])
        yield Case("x.json", whole[:end], ROWS[:kept])


def tables() -> Iterator[Case]:
    lines = [f'"{row["prompt"]}",{row["completion"]}' for row in ROWS]
    for broken in BROKEN_CSV:
        for at in range(len(lines) + 1):
            body = [*lines[:at], broken, *lines[at:]]
            if at == len(lines) or not _swallows(broken):
                yield Case("x.csv", "\n".join(["prompt,completion", *body]).encode(), ROWS, exact=False)
    for formula in FORMULAS:
        quoted = formula.replace('"', '""')
        row = {"prompt": formula, "completion": "text"}
        yield Case("x.csv", f'prompt,completion\n"{quoted}",text\n'.encode(), (row,))
    whole = "\n".join(["prompt,completion", *lines[:3]]).encode()
    for end in range(20, len(whole), 4):
        yield Case("x.csv", whole[:end], ROWS[: max(_complete(whole, end) - 1, 0)] or None, exact=False)


def _swallows(line: str) -> bool:
    """Whether a line's open quote is closed by the next line's first one, so that the next line is part of it."""
    return line in ('"never closed,x', '"', '"a""', 'x",","y')


def encodings() -> Iterator[Case]:
    """Bytes that are no UTF-8 in one row of each text format; text of other encodings."""
    for wrong in BROKEN_BYTES:
        for end, head, form in ((b"\n", b"", "jsonl"), (b",\n", b"[", "json")):
            rows = [text.encode() for text in TEXTS]
            rows[2] = rows[2].replace(b"order", b"or" + wrong + b"der")
            tail = b"]" if form == "json" else b""
            yield Case(f"x.{form}", head + end.join(rows) + tail, (*ROWS[:2], *ROWS[3:]))
        table = b"prompt,completion\n" + b"a" + wrong + b"b,c\nd,e\n"
        yield Case("x.csv", table, ({"prompt": "d", "completion": "e"},))
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"):
        whole = "\n".join(TEXTS).encode(encoding)
        yield Case("x.jsonl", whole[:-1], ROWS[:-1])
        yield Case("x.json", f"[{','.join(TEXTS)}".encode(encoding), ROWS)
    yield Case("x.jsonl", "\n".join(TEXTS).encode("cp1252"), ())
    yield Case("x.jsonl", "\n".join(TEXTS).encode("cp500"), None)


def archives() -> Iterator[Case]:
    """Cut, changed, hostile and mislabelled archives."""
    data = "\n".join(TEXTS).encode()
    noise = random.Random(1).randbytes(3000)
    packed: dict[str, bytes] = {
        "x.jsonl.gz": gzip.compress(data), "x.jsonl.bz2": bz2.compress(data), "x.jsonl.xz": lzma.compress(data),
        "x.zip": _zip({"a.jsonl": data, "b.csv": noise.hex().encode()}),
        "x.tar": _tar({"a.jsonl": data, "b.csv": noise}),
        "x.tgz": gzip.compress(_tar({"a.jsonl": data, "b.csv": noise})),
    }  # fmt: skip
    for name, whole in packed.items():
        for end in range(1, len(whole), max(len(whole) // 40, 1)):
            yield Case(name, whole[:end], None)
        changed = random.Random(2)
        for _ in range(25):
            damaged = bytearray(whole)
            damaged[changed.randrange(len(damaged))] ^= 1 << changed.randrange(8)
            yield Case(name, bytes(damaged), None)
        yield Case(name, noise, None)
    for wrong in (
        "../x.jsonl",
        "/etc/x.jsonl",
        "a/../../x.jsonl",
        "..\\x.jsonl",
        "C:\\x.jsonl",
        "x\0.jsonl",
        "~/../../x.jsonl",
    ):
        for pack, name in ((_zip, "x.zip"), (_tar, "x.tar")):
            yield Case(name, pack({"good.jsonl": data, wrong: data}), ROWS)
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE):
        yield Case("x.tar", _tar({"good.jsonl": data}, kind), ROWS)


def bombs() -> Iterator[Case]:
    """Archives that unpack to far more than they are; the good member before them is kept."""
    good = "\n".join(TEXTS).encode()
    zeros = bytes(100 << 20)
    yield Case("x.jsonl.gz", gzip.compress(zeros, 1), None)
    yield Case("x.jsonl.bz2", bz2.compress(zeros), None)
    yield Case("x.zip", _zip({"a.jsonl": good, "b.jsonl": zeros}), ROWS)
    yield Case("x.tgz", gzip.compress(_tar({"a.jsonl": good, "b.jsonl": zeros}), 1), ROWS)
    inner = _zip({"b.jsonl": zeros})
    yield Case("x.zip", _zip({"a.jsonl": good, **{f"{n}.zip": inner for n in range(20)}}), ROWS)


def documents() -> Iterator[Case]:
    """PDFs, Word documents and Parquet files that are cut, changed, empty of text or not what they are called."""
    made = {"x.pdf": pdf(b"Hello"), "x.docx": word(), "x.parquet": parquet()}
    for name, whole in made.items():
        step = max(len(whole) // 25, 1)
        for end in range(4, len(whole), step):
            yield Case(name, whole[:end], None)
        changed = random.Random(3)
        for _ in range(20):
            damaged = bytearray(whole)
            at = changed.randrange(4, len(damaged) - 4)
            damaged[at : at + 4] = changed.randbytes(4)
            yield Case(name, bytes(damaged), None)
        for other in made.values():
            yield Case(name, other, None)
        yield Case(name, b"", None)
    yield Case("x.pdf", pdf(b""), None)
    yield Case("x.docx", _zip({"word/document.xml": b" " * (50 << 20)}), None)
    for text in (
        b"",
        b"<html></html>",
        b"<div>" * 50_000,
        bytes(range(256)) * 100,
        b"<p>" + b"&" * 10_000,
        b"\xff\xfe<",
    ):
        yield Case("x.html", text, None)
    for name in ("x.jsonl", "x.json", "x.csv", "x.txt", "x.md"):
        for data in (
            b"",
            b" \n",
            b"\xef\xbb\xbf",
            b"\0" * 100,
            bytes(range(256)) * 4,
            made["x.pdf"],
            made["x.docx"],
            b"\x1f\x8b",
        ):
            yield Case(name, data, None)


def huge(size: int) -> Iterator[Case]:
    """One record of this many bytes among small ones."""
    long = json.dumps({"prompt": 'a "quoted" {[ text ' * (size // 20), "completion": "x"})
    flat = json.dumps({"prompt": "x" * size, "completion": "x"})
    nested = '{"prompt": [' + ",".join(['{"a":1}'] * (size // 8)) + "]}"
    for record in (long, flat, nested):
        yield Case("x.jsonl", "\n".join([*TEXTS[:3], record, *TEXTS[3:]]).encode(), ROWS)
        yield Case("x.json", f"[{','.join([*TEXTS[:3], record, *TEXTS[3:]])}]".encode(), ROWS)
    head = "prompt,completion\na,b\n"
    row, last = {"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}
    yield Case("x.csv", f"{head}{'x' * size},y\nc,d\n".encode(), (row, last))
    yield Case("x.csv", f'{head}"{"x y" * (size // 3)}",y\nc,d\n'.encode(), (row, last))
    yield Case("x.csv", (head + 'open,"' + ("z" * 99 + "\n") * (size // 100) + "c,d\n").encode(), (row, last))
    yield Case("x.csv", (head + f'x","{"y" * 95}\n' * (size // 100) + "c,d\n").encode(), (row, last), exact=False)
    yield Case("x.txt", b"word " * (size // 5), None)
    yield Case(
        "x.md", b"## A\n> q\n" + (b"text " * 20 + b"\n") * (size // 100) + b"## B\n> q\n```json\n{}\n```\n", None
    )


FAMILIES: dict[str, Callable[[], Iterator[Case]]] = {
    "json_lines": json_lines, "json_lists": json_lists, "tables": tables, "encodings": encodings, "archives": archives,
    "bombs": bombs, "documents": documents, "huge": lambda: huge(300_000),
}  # fmt: skip


def _zip(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return made.getvalue()


def _tar(members: dict[str, bytes], kind: bytes = b"") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        if kind:
            special = tarfile.TarInfo("special.jsonl")
            special.type, special.linkname = kind, "../../etc/passwd"
            archive.addfile(special)
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return made.getvalue()


def pdf(text: bytes) -> bytes:
    """A PDF of one page with this text; without any it is like a scanned page."""
    content = b"BT /F1 24 Tf 72 720 Td (%s) Tj ET" % text if text else b""
    objects = (
        b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    )  # fmt: skip
    made, places = b"%PDF-1.4\n", list[int]()
    for number, one in enumerate(objects, 1):
        places.append(len(made))
        made += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % len(made)
    return made + b"xref\n0 6\n0000000000 65535 f \n" + table + end


def word() -> bytes:
    """A Word document with headings, a quote and a table."""
    import docx

    document, made = docx.Document(), io.BytesIO()
    document.add_heading("Returns", 1)
    document.add_paragraph("Within thirty days.")
    document.add_paragraph("Where is it?", style="Quote")
    document.add_table(2, 2).cell(0, 0).text = "cell"
    document.save(made)
    return made.getvalue()


def parquet() -> bytes:
    """A table in three row groups."""
    import pyarrow
    import pyarrow.parquet

    made = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(ROWS)), made, row_group_size=2)
    return made.getvalue()
