from __future__ import annotations

from pathlib import Path

from tasks.contracts import EvalReport
from tasks.evaluate.examples import choose, read_examples
from tasks.evaluate.fields import find_form
from tasks.evaluate.rendering import computed_in, plain, report_markdown
from tasks.evaluate.report import ScoredRow, SystemRun, assemble, choose_metric, score_rows
from tests.tasks.evaluate.answer_rows import ticket, tickets

ROWS = tickets(30)
FORM = find_form([r.answer for r in ROWS])
HOSTILE = "</td><script>alert(1)</script> | `x` [a](http://b) ![i](c)\n# h"


def scored_and_report(base: str = HOSTILE) -> tuple[tuple[ScoredRow, ...], EvalReport]:
    wrong = ticket("app", "digital", "We look.")
    runs = {
        "base": SystemRun(answers=(base,) * 30, perplexity=20.0, retention=0.8, seconds_per_answer=0.1),
        "tuned": SystemRun(answers=(*(r.answer for r in ROWS[:27]), *(wrong,) * 3), perplexity=2.0),
        "majority": SystemRun(answers=(wrong,) * 30),
    }
    scored = score_rows(ROWS, runs, FORM)
    report = assemble(
        scored, runs, FORM, uri="store://e/k", digest="d", champion_version=3, rows_available=40, seed=1, seconds=2.0
    )
    return scored, report


def test_the_report_compares_all_systems_on_the_same_rows() -> None:
    _, report = scored_and_report()
    assert (report.rows, report.rows_available, report.metric) == (30, 40, "exact_match")
    assert report.champion_version == 3
    assert report.fields == ("intent", "team")
    assert report.systems["tuned"].exact_match.mean == 28 / 30
    assert report.systems["tuned"].per_field["intent"] == 28 / 30
    assert report.systems["base"].valid_format == 0.0
    assert report.differences["base"].mean == 28 / 30
    assert set(report.differences) == {"base", "majority"}
    assert report.differences["majority"].low > 0.3
    assert EvalReport.model_validate_json(report.model_dump_json()) == report


def test_the_type_that_models_were_computed_in_is_told() -> None:
    _, report = scored_and_report()
    assert computed_in(report) == ""

    def told(**types: str) -> str:
        systems = {n: s.model_copy(update={"computed_in": types.get(n)}) for n, s in report.systems.items()}
        return computed_in(report.model_copy(update={"systems": systems}))

    assert told(base="fp32", tuned="fp32") == "The models were computed in fp32."
    assert told(base="bf16", tuned="fp32").endswith(": base in bf16, tuned in fp32.")


def test_the_metric_follows_the_form_and_says_why() -> None:
    assert choose_metric(FORM)[0] == "exact_match"
    assert "2 different" in choose_metric(find_form(["yes", "no"] * 10))[1]
    free = choose_metric(find_form([f"text {i}" for i in range(20)]))
    assert free[0] == "token_f1"
    assert "free text" in free[1]
    assert choose_metric(find_form([r.answer for r in ROWS], ()))[0] == "token_f1"


def test_free_text_reports_compare_token_f1() -> None:
    form = find_form([f"text of row {i}" for i in range(20)])
    answers = tuple(r.answer for r in ROWS)
    runs = {"tuned": SystemRun(answers=answers), "base": SystemRun(answers=("We will",) * 30)}
    report = assemble(
        score_rows(ROWS, runs, form),
        runs,
        form,
        uri="u",
        digest="d",
        champion_version=None,
        rows_available=30,
        seed=1,
        seconds=0,
    )
    assert report.metric == "token_f1"
    assert report.systems["tuned"].field_accuracy.mean == 1.0
    assert 0 < report.differences["base"].low <= report.differences["base"].mean < 1


def test_examples_show_gains_and_losses(tmp_path: Path) -> None:
    scored, _ = scored_and_report()
    found = choose(scored, "exact_match", 3)
    assert [(e.before_right, e.after_right) for e in found[:2]] == [(False, True), (False, False)]
    assert (
        len(choose(scored[:2], "exact_match", 6)) == len({e.row_id for e in choose(scored[:2], "exact_match", 6)}) == 2
    )
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(s.model_dump_json() + "\n" for s in scored), encoding="utf-8")
    assert read_examples(path, "exact_match", 3) == found
    assert read_examples(tmp_path / "none.jsonl", "exact_match") == ()


def test_an_answer_with_other_separators_of_lines_is_shown(tmp_path: Path) -> None:
    scored, _ = scored_and_report(base="first\u2028second\u0085third")
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(s.model_dump_json() + "\n" for s in scored), encoding="utf-8")
    assert read_examples(path, "exact_match", 1)[0].before == "first\u2028second\u0085third"


def test_notes_on_how_a_model_was_asked_are_shown() -> None:
    runs = {
        name: SystemRun(answers=tuple(r.answer for r in ROWS), notes=(f"{name} is * so",)) for name in ("base", "tuned")
    }
    report = assemble(
        score_rows(ROWS, runs, FORM), runs, FORM,
        uri="u", digest="d", champion_version=None, rows_available=30, seed=1, seconds=0,
    )  # fmt: skip
    assert report.notes == ("base is * so", "tuned is * so")
    assert "\n\nbase is \\* so\n\n" in report_markdown(report, ())


def test_markdown_shows_numbers_and_interprets_no_answer() -> None:
    scored, report = scored_and_report()
    text = report_markdown(report, choose(scored, "exact_match", 2))
    assert "30 held-out rows (a seeded sample of 40)" in text
    assert "**tuned** | 93.3 (" in text
    assert "| tuned − base | +93.3 (" in text
    assert "<script>" not in text
    assert "](http" not in text
    table = [line for line in text.splitlines() if "alert" in line]
    assert table
    assert all(line.replace("\\|", "").count("|") == 5 for line in table)
    assert len(plain("x" * 5000)) < 500
