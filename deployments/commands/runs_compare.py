"""`tuneloop runs compare|export`: trainings side by side; numbers and events as files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from deployments.commands.config import AsJson
from deployments.commands.console import err, out, print_json
from deployments.commands.models import ConfigOption
from deployments.commands.runs_home import Name, open_runs
from deployments.runs.curves import Compared, Comparison, compare, curve_of_events, of_details
from deployments.wording import printable
from tasks.errors import UsageError

HTML, PNG = "compare.html", "compare.png"


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("compare")(compare_runs)
    app.command("export")(export)


def compare_runs(
    names: Annotated[list[str], typer.Argument(help="Two to four runs.", metavar="RUN RUN...")],
    folder: Annotated[Path, typer.Option("--out", help="Folder for compare.html and compare.png.")] = Path(),
    config: ConfigOption = None,
    as_json: AsJson = False,
) -> None:
    """Curves of two to four runs over one another, the best of each measure marked, settings that differ."""
    in_the_way = next((path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()), None)
    if in_the_way:
        raise UsageError("page and image need a folder", where=f"--out {folder}", why=f"{in_the_way} is a file",
                         remedy="name a folder, new or there already")  # fmt: skip
    runs = open_runs(config)
    found = [runs.find(name) for name in names]
    twice = {run.id for run in found if sum(run.id == other.id for other in found) > 1}
    if twice:
        raise UsageError("a run was named twice", where=", ".join(sorted(twice)), remedy="name different runs")
    details = [runs.details(run) for run in found]
    comparison = compare([of_details(each, called(each.view.short, each.view.tags)) for each in details])
    page, image = write_comparison(comparison, folder)
    if as_json:
        values = comparison.model_dump(mode="json", exclude={"runs": {"__all__": {"curve", "settings"}}})
        print_json({"status": "done", "exit_code": 0, **values, "html": str(page), "png": str(image)})
        return
    out.print(measures_table(comparison))
    if comparison.differences:
        out.print(differences_table(comparison))
    out.print(f"{page}\n{image}", soft_wrap=True, style="dim")


def called(short: str, tags: tuple[str, ...]) -> str:
    """What a run is called in a drawing: its id, and its tags where it has some."""
    return f"{short} {', '.join(tags)}".strip()


def write_comparison(comparison: Comparison, folder: Path, title: str = "Trainings side by side") -> tuple[Path, Path]:
    """Write page and image; where they are."""
    from deployments.runs.page import comparison_html
    from deployments.runs.picture import picture
    from tasks.adapters.store import write_atomically

    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / HTML, comparison_html(comparison, title))
    (folder / PNG).write_bytes(picture(comparison))
    return folder / HTML, folder / PNG


def measures_table(comparison: Comparison) -> Table:
    """Measures of all runs; the best one of each is marked."""
    from deployments.runs.page import value_text

    table = _headed("measure", comparison.runs)
    for row in comparison.measures:
        cells = [value_text(row.name, value) for value in row.values]
        marked = [Text(f"{t} ★", style="green") if row.best == i else Text(f"{t}  ") for i, t in enumerate(cells)]
        table.add_row(row.name, *marked)
    return table


def differences_table(comparison: Comparison) -> Table:
    """Settings that are not the same everywhere."""
    table = _headed("setting", comparison.runs)
    for name, values in comparison.differences.items():
        table.add_row(Text(printable(name)), *(Text(printable(value) or "–", overflow="fold") for value in values))
    return table


def _headed(first: str, runs: tuple[Compared, ...]) -> Table:
    table = Table(first, header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for run in runs:
        table.add_column(Text(printable(run.name)), justify="right")
    return table


def export(
    name: Name,
    events: Annotated[bool, typer.Option("--events", help="The event log of its training, one event a line.")] = False,
    form: Annotated[Literal["csv", "json"], typer.Option("--format", help="Of the metrics.")] = "csv",
    file: Annotated[Path | None, typer.Option("--out", help="File to write; empty: standard output.")] = None,
    config: ConfigOption = None,
    as_json: AsJson = False,
) -> None:
    """The metrics of every step as CSV or JSON, or the event log of the training."""
    from deployments.runs.export import events_jsonl, metrics_csv, metrics_json

    if as_json and file is None:
        raise UsageError("with --json standard output belongs to its one object", where="--json",
                         remedy="name a file with --out")  # fmt: skip
    if file is not None and file.is_dir():
        raise UsageError("an export needs a file", where=f"--out {file}", why="it is a folder",
                         remedy=f"--out {file / f'run.{form}'}")  # fmt: skip
    runs = open_runs(config)
    details = runs.details(runs.find(name))
    curve = details.trained.curve if details.trained else curve_of_events(details)
    if not (details.events if events else curve):
        raise UsageError("this run has nothing to export", where=details.view.id,
                         why="it has no training", remedy="`tuneloop runs list`")  # fmt: skip
    view = details.view.model_dump(mode="json")
    text = (
        events_jsonl(details.events) if events else (metrics_csv(curve) if form == "csv" else metrics_json(view, curve))
    )
    if file is None:
        sys.stdout.write(text)
        return
    file.write_text(text, encoding="utf-8")
    lines = len(details.events) if events else len(curve)
    if as_json:
        print_json({"status": "done", "exit_code": 0, "file": str(file), "lines": lines})
    else:
        err.print(f"{file}: {lines} {'events' if events else 'steps'}", markup=False)
