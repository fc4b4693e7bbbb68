from __future__ import annotations

import io
from typing import get_args

import pytest
from rich.console import Console

from deployments.terminal import STAGES, Board, LiveRun, closing_table
from deployments.wording import STATUS_WORDS, duration, status_in_words
from tasks import progress
from tasks.contracts import RunOutcome
from tasks.progress import Progress
from tests.deployments.example_outcome import HOSTILE, outcome, report

NEXT = ("tuneloop up a.yaml", "tuneloop models card desk@champion", "tuneloop data show ds://x/main@1.0.0")


def shown(ended: RunOutcome, width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), record=True, highlight=False)
    console.print(closing_table(ended, NEXT))
    return console.export_text()


def test_the_closing_table_tells_everything() -> None:
    text = shown(outcome())
    for part in (
        "566 in → 512 kept, 31 merged, 23 quarantined; 14 redacted",
        "near_duplicate 21",
        "ds://support_desk/main@1.0.0  new version, 380 to train, 132 held out",
        "60 steps",
        "support_desk version 3 @champion",
        "72.0   65.0–77.0",
        "base +70.5 (+61.2 to +77.6)",
        "gate passed",
    ):
        assert part in text
    assert [line.strip() for line in text.splitlines() if "tuneloop " in line] == list(NEXT)


@pytest.mark.parametrize("width", [80, 100, 160])
def test_no_number_is_cut_off(width: int) -> None:
    text = shown(outcome(), width)
    assert "…" not in text
    assert all(len(line) <= width for line in text.splitlines())
    for number in ("14.20", "2.31", "0.0–11.0", "65.0–77.0"):
        assert number in text


def test_data_can_neither_style_nor_steer_the_terminal() -> None:
    text = shown(outcome(False), 160)
    assert "[bold red]not markup[/]" in text
    assert "\x1b" not in text.replace("\x1b[0m", "")
    assert '<script>alert("x")</script>' in text


def test_a_refusal_shows_its_reasons_first() -> None:
    text = shown(outcome(False), 160)
    assert "refused by the gate" in text
    assert text.index("✘ The candidate is 51.0") < text.index("✔ 132 held-out rows were compared")


def test_refused_data_gives_its_reasons() -> None:
    text = shown(RunOutcome(status="data_refused", exit_code=20, reasons=("nothing usable", "why: it is binary")))
    assert "nothing usable" in text
    assert "why: it is binary" in text


def test_an_adapter_that_was_there_and_a_sample_are_said() -> None:
    sampled = report().model_copy(update={"rows_available": 500})
    text = shown(outcome().model_copy(update={"trained": False, "status": "unchanged", "evaluation": sampled}), 160)
    assert "this adapter was there already" in text
    assert "132 held-out rows of 500 (seeded sample)" in text


def test_what_is_needed_after_a_run_without_news_is_shown() -> None:
    ended = outcome()
    assert ended.release is not None
    said = ("nothing new at the sources", ended.release.text, "add labelled rows like it")
    text = shown(ended.model_copy(update={"status": "unchanged", "trained": False, "reasons": said}), 160)
    assert "nothing new at the sources" in text
    assert "add labelled rows like it" in text
    assert text.count(ended.release.text) == 1


def test_every_status_has_words_and_only_the_gate_refuses_in_its_name() -> None:
    assert set(STATUS_WORDS) == set(get_args(RunOutcome.model_fields["status"].annotation))
    budget = RunOutcome(status="refused", exit_code=40, reasons=("the run would cost too much",))
    assert status_in_words(budget) == "refused"
    assert "the run would cost too much" in shown(budget)


def run_stages() -> None:
    with progress.stage("ingest"):
        pass
    with progress.stage("train"):
        for step in range(1, 40):
            progress.publish(
                Progress(
                    stage="train",
                    state="running",
                    text=HOSTILE,
                    done=step,
                    total=39,
                    loss=2 / step,
                    eta_seconds=39.0 - step,
                )
            )


def test_without_a_terminal_there_are_plain_lines() -> None:
    stream = io.StringIO()
    with LiveRun(Console(file=stream, width=80)):
        run_stages()
        with pytest.raises(ValueError, match="x"), progress.stage("evaluate"):
            raise ValueError("x")
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("✔ ingest  0.0 s")
    assert lines[-1].startswith("✘ evaluate  failed after")
    assert "\x1b" not in stream.getvalue()
    assert len(lines) == 3


@pytest.mark.parametrize("terminal", [True, False])
def test_a_remark_stays_and_does_not_disturb_the_bar(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    stream = io.StringIO()
    with LiveRun(Console(file=stream, width=120, force_terminal=terminal)) as live:
        progress.publish(Progress(stage="train", state="started"))
        progress.publish(Progress(stage="train", state="running", text="488 tokens/s", done=3, total=9))
        progress.publish(Progress(stage="train", state="running", text="a damaged checkpoint was left", remark=True))
        assert live.board.lines["train"].last.done == 3
    assert "a damaged checkpoint was left" in stream.getvalue()


def test_a_long_stage_speaks_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.terminal._PLAIN_SECONDS", 0.0)
    stream = io.StringIO()
    with LiveRun(Console(file=stream, width=80)):
        run_stages()
    assert "39/39  loss 0.051  0.0 s left" in stream.getvalue()


def test_on_a_terminal_the_board_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    stream = io.StringIO()
    console = Console(file=stream, width=120, force_terminal=True)
    with LiveRun(console) as live:
        run_stages()
        assert live.animated
        progress.publish(Progress(stage="evaluate", state="started"))
        progress.publish(Progress(stage="evaluate", state="running", text="base: answering", done=3, total=9))
        board = Console(file=io.StringIO(), width=120, record=True)
        board.print(live.board)
    text = board.export_text()
    assert "✔  ingest" in text
    assert "loss 0.051" in text
    assert "base: answering  3/9" in text
    assert "release" in text  # still to come
    monkeypatch.setenv("CI", "true")
    assert not LiveRun(console).animated


@pytest.mark.parametrize("width", [80, 100])
def test_the_board_keeps_one_line_a_stage(width: int) -> None:
    board = Board()
    board.note(Progress(stage="validate", state="started"))
    board.note(Progress(stage="validate", state="finished", seconds=125))
    board.note(Progress(stage="train", state="started"))
    for step in range(1, 40):
        board.note(
            Progress(stage="train", state="running", text="step", done=step, total=60, loss=2 / step, eta_seconds=62)
        )
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(board)
    lines = console.export_text().splitlines()
    assert len(lines) == len(STAGES)
    assert "✔" in lines[0]
    assert "validate" in lines[0]
    assert "2 min 05 s" in lines[0]
    assert "39/60  loss 0.051  1 min 02 s" in lines[1]


def test_listening_ends_with_the_block() -> None:
    stream = io.StringIO()
    with LiveRun(Console(file=stream)):
        pass
    run_stages()
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3600, "1 h 00 min"),
        (7800, "2 h 10 min"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
