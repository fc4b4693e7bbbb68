from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.adapters.row_files import count_reasons, reason_code
from tasks.adapters.store import Store
from tasks.chat_template import CHATML
from tasks.contracts import Message, Row, ToolCall
from tasks.digest import digest_folder
from tasks.errors import DataRefused, EnvironmentUnusable, UsageError
from tasks.validate.config import ChecksConfig
from tasks.validate.expectations import RuleResult, offline, project_folder
from tasks.validate.judge import compare_counts
from tasks.validate.quarantine_file import QUARANTINE, read_quarantine
from tasks.validate.rules import read_suite, read_suites
from tasks.validate.stage import Verdict, judge_rows, validate_rows
from tests.tasks.data_rows import make_row, open_store, rows_of, stored
from tests.tiny_model import make_tiny_model

GERMAN = "Wo ist mein Fahrrad? Es sollte heute um neun hier sein."
LONG = "It left our shop this morning and is on its way to you now."
OBSCENE = "You are a fucking asshole and your whole shit family can go to the bitch of a doctor right now, idiot."


def ask(number: int) -> str:
    return f"Where is the bicycle that I ordered under number {number}?"


def good(count: int, first: int = 0) -> list[Row]:
    return [make_row(first + i, ask(first + i), f"{LONG} Your number is {first + i}.") for i in range(count)]


CHECKS = ChecksConfig(min_tokens=30, max_tokens=400, min_rows=2, warn_rows=4)
ASK, ANSWER = good(1)[0].messages


def tools(call: ToolCall, answers: str) -> tuple[Message, ...]:
    said = Message(role="assistant", content="", tool_calls=(call,))
    return ASK, said, Message(role="tool", content="{}", tool_call_id=answers), ANSWER


SHORT_TALK = Message(role="user", content="a"), Message(role="assistant", content="b")
CRITICAL: dict[str, Row] = {
    "empty": make_row(100, "\u00a0", LONG),
    "empty_answer": make_row(101, ask(101), "  "),
    "role_order": make_row(102, "", messages=(ASK, ASK, ANSWER)),
    "encoding_damage": make_row(103, ask(103), LONG + " caf\ufffd"),
    "too_short": make_row(104, "x", "y"),
    "too_long": make_row(105, ask(105), " ".join(f"{i} words" for i in range(120))),
    "cut_answer": make_row(106, ask(106), '{"intent": "delivery", "reply": "It is on its'),
    "repeated": make_row(107, ask(107), "on its way to you " * 12),
    "toxic": make_row(108, ask(108), OBSCENE),
    "tool_calls": make_row(109, "", messages=tools(ToolCall(id="1", name="f", arguments="["), "1")),
    "undefined_tool": make_row(117, "", tools='[{"name": "g"}]',
                               messages=tools(ToolCall(id="1", name="f", arguments="{}"), "1")),
    "tools_untrained": make_row(118, "", messages=tools(ToolCall(id="1", name="f", arguments="{}"), "1")),
    "chat_echo": make_row(110, ask(110), ask(110)),
    "echo": make_row(111, ask(111), ask(111), shape="prompt_completion"),
    "empty_rejected": make_row(112, ask(112), LONG, shape="preference"),
    "same_answers": make_row(113, ask(113), LONG, rejected=LONG.upper(), shape="preference"),
    "preference_echo": make_row(114, ask(114), ask(114), rejected=LONG, shape="preference"),
    "heading_only": make_row(115, "Delivery of all bicycles that were ordered", shape="sections",
                             answer="Delivery of all bicycles that were ordered"),
    "language": make_row(116, GERMAN, "Es kommt heute noch, vor zwölf Uhr mittags, mit dem Kurier."),
}  # fmt: skip
WARNED: dict[str, Row] = {
    "unfinished_answer": make_row(200, ask(200), "It left our shop today. It will be at your door before the"),
    "mostly_placeholders": make_row(201, "<PERSON> <PERSON>", "<PERSON> " * 20 + "is a person"),
    "few_words": make_row(202, ask(202), " ".join(["on", "way"] * 9 + ["to", "way", "on", "to", "to", "on"] * 3)),
    "many_turns": make_row(204, "", messages=SHORT_TALK * 65),
    "long_label": make_row(205, ask(205), "delivery and " * 6 + "more", shape="classification"),
    "one_sided_length": make_row(206, ask(206), LONG, rejected="no", shape="preference"),
    "mostly_signs": make_row(207, "Table of prices in the year", "12 % | 17.50 | 18.20 | 7 %", shape="sections"),
    "short_section": make_row(208, "Opening hours of our shop in the centre of the town", "all day", shape="sections"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("validate")


@pytest.fixture
def store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("TUNELOOP_HOME", str(folder))
    monkeypatch.setenv("TUNELOOP_WORKERS", "1")
    return open_store(folder)


@pytest.fixture
def judged(store: Store, tiny_model: Path) -> Callable[..., Verdict]:
    def judge(rows: list[Row], checks: ChecksConfig = CHECKS, shards: int = 1) -> Verdict:
        return judge_rows(stored(rows, store, shards=shards), checks, "t", tiny_model, store)

    return judge


def test_a_row_for_every_critical_rule_is_quarantined_for_it(judged: Any, store: Store) -> None:
    project = digest_folder(project_folder())
    checks = CHECKS.model_copy(update={"languages": ("en",), "max_quarantined_share": 1.0})
    before = make_row(300, "quarantined before", outcome="quarantined", reason="empty: x")
    made = judged([*good(20), *CRITICAL.values(), before], checks).validated
    assert digest_folder(project_folder()) == project
    rows = rows_of(made.rows, store)
    assert {r.row_id: reason_code(r) for r in rows[20:]} == {
        **{row.row_id: code for code, row in CRITICAL.items()}, before.row_id: "empty",
    }  # fmt: skip
    assert made.rows.counts.kept == 20
    assert made.rows.reasons == count_reasons(rows)
    assert all(r.repair for r in rows[20:-1])
    assert "max_tokens 400" in next(r for r in rows if r.reason.startswith("too_long")).reason
    assert all(r.quality is not None for r in rows[:-1])
    assert rows[-1].quality is None
    every = {rule.code for n in ("row", "chat", "pair", "preference", "document") for rule in suite(n).rules}
    critical = {rule.code for n in ("row", "chat", "pair", "preference", "document") for rule in suite(n).rules
                if rule.severity == "critical"}  # fmt: skip
    assert critical - set(CRITICAL) == {"template", "low_quality"}  # tests of their own below
    assert set(WARNED) == every - critical


def suite(name: str) -> Any:
    return read_suite(project_folder() / "expectations" / f"{name}_rules.json")


def test_rows_with_tools_are_kept_where_the_template_writes_them(store: Store, tmp_path: Path) -> None:
    writing = "{% for tool in tools or [] %}{{ tool | tojson }}{% endfor %}" + CHATML.replace(
        "<|im_end|>\n'", "' + (m.tool_calls | tojson if m.tool_calls else '') + '<|im_end|>\n'"
    ).replace("message", "m").replace("ms", "messages")
    model = make_tiny_model(tmp_path / "model", template=writing)
    called = make_row(118, "", messages=tools(ToolCall(id="1", name="f", arguments="{}"), "1"),
                      tools='[{"type": "function", "function": {"name": "f", "description": "finds"}}]')  # fmt: skip
    verdict = judge_rows(stored([*good(20), called], store), CHECKS, "t", model, store)
    assert verdict.validated.rows.counts.kept == 21


def test_a_row_for_every_warning_is_kept_and_reported(judged: Any, store: Store) -> None:
    checks = CHECKS.model_copy(update={"max_tokens": 2000, "max_repeated_share": 1.0})
    made = judged([*good(20), *WARNED.values()], checks).validated
    assert made.rows.counts.kept == 20 + len(WARNED)
    said = {warning.split(":")[0]: warning for warning in made.warnings}
    assert set(WARNED) <= set(said)
    assert " 1 of " in said["many_turns"]


def test_rules_are_loaded_and_counted(judged: Any) -> None:
    suites = read_suites(project_folder() / "expectations")
    chat_only = judged(good(8)).validated
    assert chat_only.rules == sum(len(suites[f"{n}_rules"].rules) for n in ("row", "chat", "dataset", "totals"))
    everything = judged([*good(8), *CRITICAL.values()]).validated
    assert everything.rules == sum(len(s.rules) for s in suites.values())
    assert len(suites["row_rules"].rules) >= 8


def test_the_template_of_the_model_refuses_a_row(store: Store, tmp_path: Path) -> None:
    refusing = "{% if messages | length > 6 %}{{ raise_exception('too much') }}{% endif %}" + CHATML
    model = make_tiny_model(tmp_path / "m", template=refusing)
    long_talk = make_row(
        50,
        "",
        messages=(ASK, ANSWER, Message(role="user", content="and?"), Message(role="assistant", content="yes")) * 2,
    )
    made = judge_rows(stored([*good(4), long_talk], store), CHECKS, "other", model, store).validated
    assert made.rows.reasons == {"template": 1}


def test_the_model_limits_the_length(judged: Any, store: Store) -> None:
    longer = make_row(60, ask(60), " ".join(f"{i} different words" for i in range(500)))
    made = judged([*good(4), longer], CHECKS.model_copy(update={"max_tokens": 4000})).validated
    assert "max_tokens 2048" in rows_of(made.rows, store)[-1].reason


@pytest.mark.parametrize(
    ("row", "changes", "code"),
    [
        (make_row(70, ask(70), "yes, it is"), {"min_answer_chars": 11}, "empty_answer"),
        (CRITICAL["repeated"], {"max_repeated_share": 1.0}, ""),
        (CRITICAL["toxic"], {"max_toxicity": 1.0}, ""),
        (make_row(71, ask(71), LONG), {"min_quality": 100}, ""),
        (make_row(72, ask(72), "on its way to you " * 4), {"min_quality": 90, "max_repeated_share": 1}, "low_quality"),
        (make_row(73, GERMAN, GERMAN + " Bitte."), {"languages": ("en",)}, "language"),
        (make_row(74, GERMAN, GERMAN + " Bitte."), {"languages": ("en", "de")}, ""),
        (CRITICAL["too_long"], {"max_tokens": 2000}, ""),
        (CRITICAL["too_short"], {"min_tokens": 3}, ""),
    ],
)  # fmt: skip
def test_every_limit_has_its_effect(judged: Any, row: Row, changes: dict[str, Any], code: str) -> None:
    made = judged([*good(4), row], CHECKS.model_copy(update=changes)).validated
    assert made.rows.reasons == ({code: 1} if code else {})


CONTRADICTING = make_row(9, "q", outcome="quarantined", reason="contradicting_answers: x")


def labelled(labels: str) -> list[Row]:
    return [
        make_row(i, ask(i), {"a": "delivery", "b": "billing"}[c], shape="classification") for i, c in enumerate(labels)
    ]


@pytest.mark.parametrize(
    ("rows", "changes", "code", "words"),
    [
        (good(3), {}, "few", "warn_rows is 4, observed 3"),
        (labelled("a" * 28 + "bb"), {"max_class_share": 0.9}, "class", "max_class_share is 0.9, observed 0.933333"),
        (labelled("a" * 28 + "bb"), {"min_class_rows": 3}, "rare", "min_class_rows is 3, observed 2"),
        (labelled("a" * 12), {}, "one", "two different answers"),
        ([make_row(i, ask(i % 2), f"{LONG} {i}") for i in range(8)], {}, "prompts", "min_distinct_prompts is 0.5"),
        ([*good(8), CONTRADICTING], {}, "c", "contradict each other"),
    ],
)  # fmt: skip
def test_warnings_about_the_dataset(
    judged: Any, rows: list[Row], changes: dict[str, Any], code: str, words: str
) -> None:
    made = judged(rows, CHECKS.model_copy(update=changes)).validated
    assert any(words in warning for warning in made.warnings), made.warnings


def test_a_sound_dataset_gives_no_warning(judged: Any) -> None:
    assert judged(good(60), ChecksConfig()).validated.warnings == ()
    assert judged(labelled("ab" * 30), ChecksConfig()).validated.warnings == ()


@pytest.mark.parametrize(
    ("rows", "checks", "words"),
    [
        (good(3), CHECKS.model_copy(update={"min_rows": 4}), "min_rows is 4"),
        ([*good(3), *(make_row(20 + i, "x", "y") for i in range(9))], CHECKS, "max_quarantined_share is 0.5"),
        ([*good(3), make_row(1, ask(9), LONG)], CHECKS, "no row id occurs twice"),
        ([make_row(i, "<EMAIL_ADDRESS> <EMAIL_ADDRESS> me " + ask(i)) for i in range(3)], CHECKS, "placeholder_share"),
        ([make_row(i, "x", "y") for i in range(3)], CHECKS, "no row is left"),
    ],
)  # fmt: skip
def test_broken_dataset_rules_refuse_the_data(
    store: Store, tiny_model: Path, rows: list[Row], checks: ChecksConfig, words: str
) -> None:
    if "placeholder" in words:
        rows = [
            r.model_copy(update={"messages": (r.messages[0], Message(role="assistant", content="<X_Y> " * 9))})
            for r in rows
        ]
    with pytest.raises(DataRefused) as first:
        validate_rows(stored(rows, store), checks, "t", tiny_model, store)
    assert words in first.value.why
    assert first.value.exit_code == 20
    report = Path(first.value.remedy.split("see ")[1].split(";")[0])
    assert "refused" in report.read_text()
    made = report.stat().st_mtime_ns
    with pytest.raises(DataRefused) as again:
        validate_rows(stored(rows, store), checks, "t", tiny_model, store)
    assert str(again.value) == str(first.value)
    assert report.stat().st_mtime_ns == made


def test_unknown_languages_are_refused_before_anything_is_read(judged: Any) -> None:
    with pytest.raises(UsageError, match="language"):
        judged(good(3), CHECKS.model_copy(update={"languages": ("xq",)}))


def test_the_same_rows_in_any_number_of_workers(
    store: Store, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = stored([*good(40), *list(CRITICAL.values())[:8], *good(20, 400)], store, shards=5)
    made = []
    for workers in ("1", "2"):
        monkeypatch.setenv("TUNELOOP_WORKERS", workers)
        other = Store(str(tmp_path / workers), tmp_path / workers)
        given = other.produce("given", rows.uri.rsplit("/", 1)[1], type(rows), copied(store, rows.uri))
        made.append((judge_rows(given, CHECKS, "t", tiny_model, other), other))
    (one, first), (two, second) = made
    assert one == two
    uri = one.validated.rows.uri
    assert [p.read_bytes() for p in sorted(first.path(uri).glob("*.jsonl"))] == [
        p.read_bytes() for p in sorted(second.path(uri).glob("*.jsonl"))
    ]
    lines = [list(read_quarantine(s.path(uri) / QUARANTINE)) for s in (first, second)]
    assert lines[0] == lines[1]


def copied(store: Store, uri: str) -> Callable[[Path], Any]:
    import shutil

    from tasks.adapters.store import MARKER
    from tasks.contracts import Rows

    def make(folder: Path) -> Rows:
        shutil.copytree(store.path(uri), folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MARKER))
        found = store.find("given", uri.rsplit("/", 1)[1], Rows)
        assert found
        return found

    return make


def test_the_quarantine_file_holds_every_row_in_quarantine(judged: Any, store: Store) -> None:
    unread = make_row(301, "", messages=(), raw_excerpt="{broken", outcome="quarantined",
                      reason="broken_record: no JSON", repair="close the brace")  # fmt: skip
    made = judged([*good(8), CRITICAL["too_short"], unread], shards=3).validated
    path = store.path(made.rows.uri) / QUARANTINE
    short, broken = read_quarantine(path)
    assert (short.code, short.line, short.record_index) == ("too_short", 1, 104)
    assert short.text == "user: x\nassistant: y"
    assert short.repair
    assert short.quality is not None
    assert (broken.code, broken.reason, broken.text) == ("broken_record", "no JSON", "{broken")
    assert broken.repair == "close the brace"
    assert broken.quality is None
    assert [r.row_id for r in read_quarantine(path, broken.row_id)] == [broken.row_id]
    assert not list(path.parent.glob("quarantine/*"))


def test_a_quarantine_file_without_rows(judged: Any, store: Store) -> None:
    made = judged(good(9)).validated
    assert list(read_quarantine(store.path(made.rows.uri) / QUARANTINE)) == []


def test_the_report_stands_for_itself(judged: Any, store: Store) -> None:
    made = judged([*good(20), CRITICAL["too_short"], WARNED["unfinished_answer"]]).validated
    report = store.path(made.report_uri)
    index = (report / "index.html").read_text()
    for words in (
        "accepted",
        "too_short",
        "min_tokens 30",
        "✗ broken",
        "✓ passed",
        "Quality scores",
        "unfinished_answer",
    ):
        assert words in index
    pages = list(report.rglob("*.html"))
    assert len(pages) >= 6
    for page in pages:
        text = page.read_text()
        assert "<script" not in text
        assert 'src="http' not in text
        assert "stylesheet" not in text
    for link in index.split('<a href="')[1:]:
        assert (report / link.split('"')[0]).is_file()
    off = judged(good(20), CHECKS.model_copy(update={"max_toxicity": 1.0})).validated
    assert "not measured" in (store.path(off.report_uri) / "index.html").read_text()


def test_two_evaluations_that_differ_stop_the_stage() -> None:
    rules = suite("row")
    masks = [np.array([True, False])] * len(rules.rules)
    same = [RuleResult(code=r.code, passed=False, unexpected=1) for r in rules.rules]
    compare_counts(rules, masks, same)
    with pytest.raises(EnvironmentUnusable, match="do not agree") as error:
        compare_counts(rules, masks, [same[0].model_copy(update={"unexpected": 2}), *same[1:]])
    assert error.value.exit_code == 50


def test_pages_load_nothing_from_elsewhere() -> None:
    page = """<head><link rel="stylesheet" href="https://x/y.css"><script src="https://x/z.js"></script>
    <style>a{background:url('https://x/l.png')}</style></head><img src="//x/i.png"><a href="https://x">x</a>"""
    made = offline(page, "b{color:red}")
    assert "<script" not in made
    assert made.count("//") == 1
    assert '<a href="https://x">' in made
    assert "<style>b{color:red}</style></head>" in made


def test_great_expectations_does_not_use_the_network(tmp_path: Path) -> None:
    code = """
        import sys
        calls = []
        sys.addaudithook(lambda event, args: calls.append(args) if event == "socket.connect" else None)
        from pathlib import Path
        import numpy as np
        from tasks.contracts import RowCounts
        from tasks.validate.expectations import Expectations, project_folder
        from tasks.validate.measures import MEASURES
        from tasks.validate.rules import read_suite
        from tasks.validate.totals import totals_columns
        suite = read_suite(project_folder() / "expectations" / "totals_rules.json")
        counts = RowCounts(rows_in=2, kept=2, merged=0, quarantined=0, redacted=0)
        columns = totals_columns(counts, {}, np.zeros(2, MEASURES))
        results = Expectations(Path(sys.argv[1])).run(suite, "totals", columns, suite.defaults)
        assert len(results) == len(suite.rules)
        assert not calls, calls
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "gx")], check=True)
