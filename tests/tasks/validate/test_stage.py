from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest

from tasks.adapters.row_files import read_output
from tasks.contracts import Message, Row
from tasks.digest import digest_folder
from tasks.errors import DataRefused, EnvironmentUnusable
from tasks.validate.config import ChecksConfig
from tasks.validate.expectations import RuleResult, offline, project_folder
from tasks.validate.rules import read_suite
from tasks.validate.stage import compare_counts, validate_rows
from tests.tasks.data_rows import make_row, open_store, stored


def count_words(messages: Sequence[Message]) -> int:
    return sum(len(m.content.split()) for m in messages)


def good(count: int, first: int = 0) -> list[Row]:
    return [make_row(first + i, f"question number {i} of the day", "an answer") for i in range(count)]


CHECKS = ChecksConfig(min_tokens=3, max_tokens=16, min_rows=2, warn_rows=4)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("validate")


def test_rows_that_break_a_rule_are_quarantined_and_reported(home: Path) -> None:
    store = open_store(home)
    user, answer = good(1)[0].messages
    bad = [
        make_row(10, "x", "y"),
        make_row(11, "word " * 20),
        make_row(12, "a \ufffd b c d"),
        make_row(13, "", messages=(user, user, answer)),
        make_row(14, "\u00a0"),
        make_row(15, "quarantined before", outcome="quarantined", reason="empty: x"),
    ]
    project = digest_folder(project_folder())
    made = validate_rows(stored([*good(8), *bad], store), CHECKS, "tokenizer", count_words, store)
    assert digest_folder(project_folder()) == project
    rows, _ = read_output(store.path(made.rows.uri))
    assert [r.reason.split(":")[0] for r in rows[8:]] == [
        "too_short", "too_long", "encoding_damage", "role_order", "empty", "empty",
    ]  # fmt: skip
    assert "max_tokens 16" in rows[9].reason
    assert made.rules == 12
    assert made.warnings == ()
    assert made.rows.counts.kept == 8
    pages = list(store.path(made.report_uri).rglob("*.html"))
    assert len(pages) >= 6
    for page in pages:
        text = page.read_text()
        assert "<script" not in text
        assert 'src="http' not in text
        assert "stylesheet" not in text or "http" not in text.split("stylesheet")[1][:200]


@pytest.mark.parametrize(
    ("rows", "checks", "words"),
    [
        (good(3), CHECKS.model_copy(update={"min_rows": 4}), "min_rows is 4"),
        ([*good(3), *(make_row(20 + i, "x", "y") for i in range(9))], CHECKS, "max_quarantined_share is 0.5"),
        ([*good(3), make_row(1, "the same id as another row")], CHECKS, "no row id occurs twice"),
        ([make_row(i, "<EMAIL_ADDRESS> <EMAIL_ADDRESS> me") for i in range(3)], CHECKS, "placeholders"),
        ([make_row(i, "x", "y") for i in range(3)], CHECKS, "no row is left"),
    ],
)
def test_broken_dataset_rules_refuse_the_data(home: Path, rows: list[Row], checks: ChecksConfig, words: str) -> None:
    store = open_store(home)
    with pytest.raises(DataRefused) as first:
        validate_rows(stored(rows, store), checks, "t", count_words, store)
    assert words in first.value.why
    assert first.value.exit_code == 20
    report = Path(first.value.remedy.split("see ")[1].split(";")[0])
    assert report.is_file()
    with pytest.raises(DataRefused) as again:
        validate_rows(stored(rows, store), checks, "t", lambda _: pytest.fail("counted again"), store)
    assert str(again.value) == str(first.value)


def test_few_rows_give_a_warning(home: Path) -> None:
    store = open_store(home)
    made = validate_rows(stored(good(3), store), CHECKS, "t", count_words, store)
    assert "only 3 rows" in made.warnings[0]


def test_two_evaluations_that_differ_stop_the_stage() -> None:
    suite = read_suite(project_folder() / "expectations" / "row_rules.json")
    masks = [[True, False]] * len(suite.rules)
    same = [RuleResult(code=r.code, passed=False, unexpected=1) for r in suite.rules]
    compare_counts(suite, masks, same)
    with pytest.raises(EnvironmentUnusable, match="do not agree") as error:
        compare_counts(suite, masks, [same[0].model_copy(update={"unexpected": 2}), *same[1:]])
    assert error.value.exit_code == 50


def test_pages_load_nothing_from_elsewhere() -> None:
    page = """<head><link rel="stylesheet" href="https://x/y.css"><script src="https://x/z.js"></script>
    <style>a{background:url('https://x/l.png')}</style></head><img src="//x/i.png"><a href="https://x">x</a>"""
    made = offline(page)
    assert "<script" not in made
    assert made.count("//") == 1
    assert '<a href="https://x">' in made


def test_great_expectations_does_not_use_the_network(tmp_path: Path) -> None:
    code = """
        import sys
        calls = []
        sys.addaudithook(lambda event, args: calls.append(args) if event == "socket.connect" else None)
        from pathlib import Path
        from tasks.validate.expectations import Expectations, project_folder
        from tasks.validate.rules import read_suite
        suite = read_suite(project_folder() / "expectations" / "totals_rules.json")
        columns = {"rows_in": [2], "accounted_for": [2], "quarantined_share": [0.1]}
        results = Expectations(Path(sys.argv[1])).run(suite, "totals", columns, suite.defaults)
        assert all(r.passed for r in results) and len(results) == 2
        assert not calls, calls
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "gx")], check=True)
