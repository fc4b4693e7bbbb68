"""From rows that the real reader made back to the bytes of their sources."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import tarfile
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from deployments.source_bytes import read_source
from tasks.adapters.row_files import all_rows
from tasks.adapters.store import Store
from tasks.contracts import Row
from tasks.ingest.config import DataConfig
from tasks.ingest.stage import read_sources
from tests.tasks.adapters.sources.web_server import Reply, web_server
from tests.tasks.version.versions import versioned

SECTION = (
    '## Case {0}\n\n> Question number {0} of the playbook, écrite à la main.\n\n```json\n{{"answer": "{0}"}}\n```\n\n'
)


def chat(name: str, number: int) -> str:
    turns = [
        {"role": "user", "content": f"{name} question {number} ümlaut"},
        {"role": "assistant", "content": f"a{number}"},
    ]
    return json.dumps({"messages": turns}, ensure_ascii=False)


def jsonl(name: str, count: int) -> bytes:
    return "".join(chat(name, n) + "\n" for n in range(count)).encode()


def table(name: str, count: int) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["prompt", "completion"])
    for n in range(count):
        writer.writerow([f"{name}, question {n}\nwith a second line", f"answer {n}"])
    return text.getvalue().encode()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Every way in which records lie in files: lines, elements, tables, sections; packed, and packed twice."""
    folder = tmp_path / "project" / "data"
    folder.mkdir(parents=True)
    (folder / "lines.jsonl").write_bytes(jsonl("lines", 8))
    (folder / "wide.jsonl").write_text(jsonl("wide", 4).decode(), encoding="utf-16")
    (folder / "list.json").write_text("[\n " + ",\n ".join(chat("list", n) for n in range(5)) + "\n]")
    (folder / "table.csv").write_bytes(table("table", 6))
    (folder / "playbook.md").write_text("".join(SECTION.format(n) for n in range(4)), encoding="utf-8")
    (folder / "packed.jsonl.gz").write_bytes(gzip.compress(jsonl("gz", 4)))
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        archive.writestr("deep/one.jsonl", jsonl("zip", 4))
        archive.writestr("two.csv", table("zipped", 3))
    with tarfile.open(folder / "all.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("inner.jsonl")
        member.size = len(jsonl("tar", 3))
        tar.addfile(member, io.BytesIO(jsonl("tar", 3)))
    _write_parquet(folder / "columns.parquet")
    return tmp_path / "project"


def _write_parquet(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"prompt": [f"parquet question {n}" for n in range(5)], "completion": [f"p{n}" for n in range(5)]}
    pq.write_table(pa.table(columns), path, row_group_size=2)


def read(project: Path) -> list[Row]:
    store = Store.open()
    rows = read_sources(DataConfig.model_validate({"sources": [{"path": "data"}]}), project, store)
    return list(all_rows(store, rows.uri))


def test_every_row_leads_to_its_bytes(home: Path, project: Path) -> None:
    rows = read(project)
    assert len(rows) == 8 + 4 + 5 + 6 + 4 + 4 + 4 + 3 + 3 + 5
    for row in rows:
        found = read_source(row.origin, row.shape, [project])
        assert (found.state, found.said) == ("same", "the source still has these bytes"), row.origin
        assert found.text is not None
        answer = row.answer if row.shape == "chat" else row.answer.strip('{}"').split('"')[-1]
        assert answer in found.text
        if row.origin.source_uri.endswith(".parquet"):
            assert found.record is None
        else:
            assert found.record is not None
            encoding = "utf-16-le" if "wide" in row.origin.source_uri else "utf-8"
            assert answer in found.record.decode(encoding)
    assert {row.origin.member for row in rows} >= {"deep/one.jsonl", "two.csv", "all.tar!/inner.jsonl"}


def test_ten_random_rows_by_the_command(home: Path, project: Path) -> None:
    rows = [row.model_copy(update={"split": "test" if n % 5 == 0 else "train"}) for n, row in enumerate(read(project))]
    versioned(rows)
    for row in random.Random(3).sample(rows, 10):
        arguments = ["data", "trace", row.row_id, "--config", str(_config(project)), "--json"]
        done = CliRunner().invoke(app, [*arguments, "--original", "--reason", "test"])
        found = json.loads(done.stdout)
        assert found["source"]["state"] == "same"
        question = row.messages[0].content.split("\n")[0]
        assert question in found["original"] or json.dumps(question)[1:-1] in found["original"]


def _config(project: Path) -> Path:
    path = project / "config.yaml"
    path.write_text("project: traced\ndata:\n  sources:\n    - path: data\n")
    return path


def test_a_source_that_was_moved_is_found_by_its_content(home: Path, project: Path, tmp_path: Path) -> None:
    row = next(row for row in read(project) if row.origin.source_uri == "data/lines.jsonl")
    assert read_source(row.origin, row.shape, [tmp_path]).opened == str(project / "data" / "lines.jsonl")


def test_a_source_that_changed_or_went(home: Path, project: Path) -> None:
    rows = {row.origin.source_uri: row for row in read(project)}
    for name in ("data/lines.jsonl", "data/all.zip"):
        path, row = project / name, rows[name]
        data = path.read_bytes()
        path.write_bytes(data[:-1])
        assert read_source(row.origin, row.shape, [project]).state == "changed"
        path.unlink()
        assert read_source(row.origin, row.shape, [project]).state == "missing"
        path.write_bytes(data)
        assert read_source(row.origin, row.shape, [project]).state == "same"


def test_what_lies_on_the_web_is_asked_for_with_its_configuration(home: Path, tmp_path: Path) -> None:
    body = [jsonl("web", 3)]
    with web_server(lambda _asked: Reply(200, body[0])) as server:
        source = {"path": f"{server.url}/x.jsonl", "http": {"allow_private": True, "retries": 0}}
        data = DataConfig.model_validate({"sources": [source]})
        store = Store.open()
        row = list(all_rows(store, read_sources(data, tmp_path, store).uri))[1]
        assert read_source(row.origin, row.shape, [tmp_path]).state == "elsewhere"
        found = read_source(row.origin, row.shape, [tmp_path], data.sources)
        assert (found.state, found.record, found.opened) == ("same", chat("web", 1).encode(), "")
        body[0] = jsonl("other", 3)
        assert read_source(row.origin, row.shape, [tmp_path], data.sources).state == "changed"


def test_what_lies_elsewhere_is_not_guessed(home: Path, project: Path) -> None:
    row = read(project)[0]
    origin = row.origin.model_copy(update={"source_uri": "s3://bucket/x.jsonl", "source_digest": "0" * 64,
                                           "container_digest": "", "member": ""})  # fmt: skip
    found = read_source(origin, row.shape, [project])
    assert (found.state, found.text) == ("elsewhere", None)
    assert "--config" in found.said
