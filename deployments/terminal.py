"""What a person sees while a run works and when it has ended. Everything goes through `Text`: data is no markup."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from deployments.closing import closing_table
from deployments.wording import duration, printable
from tasks.progress import Progress, listening

__all__ = ["LiveRun", "closing_table"]

STAGES = ("ingest", "process", "validate", "version", "train", "evaluate", "gate", "register", "release")
_SPARKS = "▁▂▃▄▅▆▇█"
_SPARK_POINTS = 16
_PLAIN_SECONDS = 10.0
_WIDE, _BAR = 100, 12


@dataclass
class _Line:
    """The last thing known of one stage."""

    last: Progress
    began: float
    losses: list[float] = field(default_factory=list)


class LiveRun:
    """Shows the stages of a run as they work: a board on a terminal, plain lines elsewhere (and where CI is set).

    Args:
        console: where to write; standard error if none is given.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.board = Board()
        self.animated = self.console.is_terminal and not os.environ.get("CI")
        self._stack = ExitStack()
        self._said: dict[str, float] = {}

    def __enter__(self) -> LiveRun:
        if self.animated:
            self._stack.enter_context(Live(self.board, console=self.console, refresh_per_second=8, transient=False))
        self._stack.enter_context(listening(self._listen))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.board.ended = True
        self._stack.__exit__(kind, error, trace)

    def _listen(self, progress: Progress) -> None:
        if progress.remark:
            self.console.print(plain_line(progress), soft_wrap=True, style="yellow")
            return
        self.board.note(progress)
        if not self.animated and self._worth_a_line(progress):
            self.console.print(plain_line(progress), soft_wrap=True)

    def _worth_a_line(self, progress: Progress) -> bool:
        """Starts are silent, ends are always told, and between them one line in ten seconds."""
        now = time.monotonic()
        if progress.state == "started":
            self._said[progress.stage] = now
            return False
        if progress.state == "running" and now - self._said.get(progress.stage, now) < _PLAIN_SECONDS:
            return False
        self._said[progress.stage] = now
        return True


class Board:
    """All stages, one line each: done with a check mark and its time, at work with bar, loss and time left, to come."""

    def __init__(self) -> None:
        self.lines: dict[str, _Line] = {}
        self.ended = False
        self._spinner = Spinner("dots", style="cyan")

    def note(self, progress: Progress) -> None:
        """Take in what a stage says."""
        known = self.lines.get(progress.stage)
        if known is None or progress.state == "started":
            self.lines[progress.stage] = _Line(progress, time.monotonic())
            return
        if progress.state in ("finished", "failed"):
            progress = progress.model_copy(update={"loss": progress.loss or known.last.loss})
        elif progress.loss is not None:
            known.losses.append(progress.loss)
        known.last = progress

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        grid = Table.grid(padding=(0, 1), expand=True)
        for width, side in ((2, "center"), (10, "left"), (12, "right")):
            grid.add_column(width=width, min_width=width, justify=side, no_wrap=True)  # type: ignore[arg-type]
        grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        for name, line in tuple(self.lines.items()):
            grid.add_row(*self._cells(name, line, options.max_width))
        for name in STAGES:
            if name not in self.lines and not self.ended:
                grid.add_row(Text("·", style="dim"), Text(name, style="dim"), "", "")
        yield grid

    def _cells(self, name: str, line: _Line, width: int) -> tuple[RenderableType, ...]:
        last = line.last
        if last.state == "finished":
            tail = Text.assemble(_sparkline(line.losses), Text(_loss(last), style="dim"))
            return Text("✔", style="bold green"), Text(printable(name)), Text(duration(last.seconds), style="dim"), tail
        if last.state == "failed":
            return Text("✘", style="bold red"), Text(printable(name), style="red"), duration(last.seconds), ""
        elapsed = Text(duration(time.monotonic() - line.began), style="cyan")
        icon: RenderableType = Text("■", style="yellow") if self.ended else self._spinner
        return icon, Text(printable(name), style="bold cyan"), elapsed, _at_work(line, width)


def plain_line(progress: Progress) -> Text:
    """One line for a log."""
    name = printable(progress.stage)
    if progress.state == "finished":
        return Text(f"✔ {name}  {duration(progress.seconds)}")
    if progress.state == "failed":
        return Text(f"✘ {name}  failed after {duration(progress.seconds)}")
    return Text("  ".join(part for part in (f"  {name}", *_facts(progress)) if part))


def _at_work(line: _Line, width: int) -> RenderableType:
    last = line.last
    facts = Text("  ".join(part for part in _facts(last) if part), no_wrap=True, overflow="ellipsis")
    if not last.total:
        return facts
    row = Table.grid(padding=(0, 1), expand=True)
    row.add_column(width=_BAR, min_width=_BAR)
    row.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    if width >= _WIDE:
        facts.append("  ").append_text(_sparkline(line.losses))
    row.add_row(ProgressBar(last.total, min(last.done, last.total), width=_BAR, complete_style="cyan"), facts)
    return row


def _facts(progress: Progress) -> tuple[str, ...]:
    count = f"{progress.done}/{progress.total}" if progress.total else ""
    left = f"{duration(progress.eta_seconds)} left" if progress.eta_seconds is not None else ""
    return printable(progress.text), count, _loss(progress), left


def _loss(progress: Progress) -> str:
    return f"loss {progress.loss:.3f}" if progress.loss is not None else ""


def _sparkline(losses: list[float]) -> Text:
    """The course of the loss in at most 16 characters."""
    if len(losses) < 2:
        return Text("")
    step = max(1.0, len(losses) / _SPARK_POINTS)
    points = [losses[int(i * step)] for i in range(int(len(losses) / step))]
    low, high = min(points), max(points)
    scale = (len(_SPARKS) - 1) / (high - low) if high > low else 0.0
    return Text("".join(_SPARKS[round((p - low) * scale)] for p in points) + " ", style="magenta")
