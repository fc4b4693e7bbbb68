from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

from deployments.loss_curve import loss_curve_svg
from deployments.summary import summary_html, summary_json
from tasks.contracts import LossPoint, RunOutcome
from tests.deployments.example_outcome import HOSTILE, outcome, report
from tests.tasks.evaluate.answer_rows import row


class Balanced(HTMLParser):
    """Notes every element and that each one is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(page: str) -> Balanced:
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    return parser


def answers_file(folder: Path) -> Path:
    from tasks.evaluate.fields import find_form
    from tasks.evaluate.report import SystemRun, score_rows

    rows = [row(f"prompt {i} {HOSTILE}", "yes", i) for i in range(4)]
    runs = {"base": SystemRun(answers=(HOSTILE,) * 4), "tuned": SystemRun(answers=("yes",) * 4)}
    lines = score_rows(rows, runs, find_form(["yes", "no"] * 10))
    path = folder / "answers.jsonl"
    path.write_text("".join(line.model_dump_json() + "\n" for line in lines), encoding="utf-8")
    return path


def test_the_page_holds_everything_and_loads_nothing(tmp_path: Path) -> None:
    page = summary_html(outcome(), answers_file(tmp_path))
    found = parsed(page)
    assert "svg" in found.seen
    assert not {"script", "img", "link", "iframe", "a"} & set(found.seen)
    assert found.addresses == []
    assert "http" not in re.sub(r"http-equiv", "", page)
    for text in (
        "512",
        "quarantined",
        "ds://support_desk/main@1.0.0",
        "65.0–77.0",
        "+61.2 to +77.6",
        "prompt 0",
        "support_desk version 3 @champion",
        "Before and after",
        "2 min 21 s",
    ):
        assert text in page


def test_hostile_text_is_text(tmp_path: Path) -> None:
    page = summary_html(outcome(False), answers_file(tmp_path))
    parsed(page)
    assert "<script" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;" in page
    assert "refused by the gate" in page


def test_a_run_that_got_nowhere_still_has_a_page_and_an_object() -> None:
    ended = RunOutcome(status="data_refused", exit_code=20, reasons=(f"nothing usable in a.jsonl {HOSTILE}",))
    page = summary_html(ended, None)
    parsed(page)
    assert "the data was refused" in page
    found = summary_json(ended)
    assert (found["status"], found["exit_code"]) == ("data_refused", 20)
    assert [k for k, v in found.items() if v is None] == [
        "dataset",
        "rows",
        "base",
        "evaluation",
        "gate",
        "model",
        "run_url",
    ]


def test_the_object_has_the_keys_that_programs_rely_on() -> None:
    found = json.loads(json.dumps(summary_json(outcome()), allow_nan=False))
    assert found["dataset"]["version"] == "1.0.0"
    assert found["dataset"]["digest"] == "d" * 64
    assert found["rows"] == {"in": 566, "kept": 512, "merged": 31, "quarantined": 23, "redacted": 14}
    assert found["evaluation"]["rows"] == 132
    for system in ("base", "tuned", "majority", "nearest"):
        scores = found["evaluation"][system]
        assert {"exact_match", "field_accuracy", "rouge_l", "perplexity", "token_f1"} <= set(scores)
        assert scores["intervals"]["exact_match"]["low"] <= scores["exact_match"]
    assert found["evaluation"]["differences"]["base"]["low"] == 0.612
    assert found["gate"]["passed"] is True
    assert found["gate"]["reasons"][0]["rule"] == "enough_rows"
    assert found["model"] == {"name": "support_desk", "version": 3, "alias": "champion"}
    assert found["trained"] is True
    assert found["seconds"]["train"] == 141.0
    assert found["run_url"] is None


def test_sampling_is_stated() -> None:
    sampled = report().model_copy(update={"rows_available": 500})
    page = summary_html(outcome().model_copy(update={"evaluation": sampled}), None)
    assert "132 held-out rows of 500 (a seeded sample)" in page


def test_how_a_model_was_asked_is_told() -> None:
    noted = outcome().model_copy(update={"evaluation": report().model_copy(update={"notes": ("It saw <1> example.",)})})
    assert '<p class="warn">It saw &lt;1&gt; example.</p>' in summary_html(noted, None)
    assert summary_json(noted)["evaluation"]["notes"] == ["It saw <1> example."]


def test_loss_curve_stays_in_its_frame_whatever_the_losses() -> None:
    def point(step: int, loss: float) -> LossPoint:
        return LossPoint(step=step, loss=loss, learning_rate=0.0, tokens=step)

    assert loss_curve_svg([]) == ""
    assert loss_curve_svg([point(1, 1.0)]) == ""
    assert loss_curve_svg([point(1, float("nan")), point(2, 1.0)]) == ""
    for curve in ([point(1, 0.0), point(2, 0.0)], [point(i, 1e6 / i) for i in range(1, 5000)]):
        drawn = loss_curve_svg(curve)
        places = re.findall(r"(-?[\d.]+),(-?[\d.]+)", drawn)
        assert 4 <= len(places) <= 2000
        assert all(0 <= float(x) <= 1000 and 0 <= float(y) <= 260 for x, y in places)
