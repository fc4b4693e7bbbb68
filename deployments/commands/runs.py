"""`tuneloop runs`: what ran and what runs. The commands lie in the modules `runs_*` beside this one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table
from rich.text import Text

from deployments.commands import runs_compare, runs_marks, runs_retry
from deployments.commands.config import AsJson
from deployments.commands.console import err, out, print_json
from deployments.commands.models import ConfigOption
from deployments.commands.runs_home import Name, as_json_values, detail_pairs, open_runs, state_text
from deployments.runs.states import STATES
from deployments.wording import printable
from tasks.errors import UsageError

if TYPE_CHECKING:
    from deployments.runs.views import RunView

app = typer.Typer(help="Runs: list, look, follow, compare, cancel, retry, export, tag.", no_args_is_help=True)
_INFO = 20
_COLUMNS: dict[str, Literal["left", "right"]] = {
    "id": "left", "when": "left", "state": "left", "run": "left", "loss": "right", "valid.": "right", "score": "right",
    "time": "right",
}  # fmt: skip


@app.command("list")
def list_runs(
    state: Annotated[str, typer.Option("--state", help=f"Only these: {', '.join(STATES)}.")] = "",
    tag: Annotated[str, typer.Option("--tag", help="Only runs with this tag.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="The newest so many.")] = 25,
    config: ConfigOption = None,
    as_json: AsJson = False,
) -> None:
    """The newest runs: state, dataset, model, loss, metric."""
    if state and state not in STATES:
        raise UsageError("there is no such state", where=f"--state {state}", remedy=f"one of {', '.join(STATES)}")
    views = open_runs(config).views()
    chosen = [v for v in views if state in ("", v.state) and (not tag or tag in v.tags)]
    show_list(chosen[:limit], as_json, len(chosen))


def show_list(views: list[RunView], as_json: bool, found: int) -> None:
    """Runs as a table, or as JSON."""
    if as_json:
        values = [view.model_dump(mode="json") | {"short": view.short} for view in views]
        print_json({"status": "done", "exit_code": 0, "found": found, "runs": values})
        return
    if not views:
        out.print("no such runs here; `tuneloop run CONFIG` starts one")
        return
    optional = {"valid.": "validation_loss", "score": "score"}
    shown = [name for name in _COLUMNS if name not in optional or any(getattr(v, optional[name]) for v in views)]
    table = Table(header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in shown:
        table.add_column(name, justify=_COLUMNS[name], no_wrap=name != "run", overflow="fold")
    for view in views:
        cells = dict(zip(_COLUMNS, _cells(view), strict=True))
        table.add_row(*(cells[name] for name in shown))
    out.print(table)
    if found > len(views):
        out.print(f"{found - len(views)} older ones: --limit {found}", style="dim")


def _cells(view: RunView) -> tuple[Text | str, ...]:
    went_on = ", resumed" if view.state == "completed" else ""
    said = [f"interrupted {view.interruptions}×{went_on}"] if view.interruptions else []
    said += [f"repaired {view.repairs}×"] if view.repairs else []
    said += [view.detail] if view.detail else []
    said += [f"#{tag}" for tag in view.tags]
    remarks = (f"\n{printable(', '.join(said))}" if said else "", "yellow")
    about = printable(view.dataset.removeprefix("ds://") or view.project)
    return (
        Text(view.short, style="cyan"),
        f"{(view.started or view.created).astimezone():%m-%d %H:%M}",
        state_text(view.state),
        Text.assemble(printable(view.flow), (f" {about}" if about else "", "dim"), remarks, overflow="fold"),
        _number(view.loss),
        _number(view.validation_loss),
        f"{100 * view.score:.1f}" if view.score is not None else "",
        _clock(view.seconds) if view.seconds is not None else "",
    )


def _clock(seconds: float) -> str:
    """`0:42`, `3:05`, `2:10:00`."""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def _number(value: float | None) -> str:
    return f"{value:.3f}" if value is not None else ""


@app.command()
def show(name: Name, config: ConfigOption = None, as_json: AsJson = False) -> None:
    """Everything about a run: decisions with reasons, repairs, estimate against actual, scores, notes."""
    runs = open_runs(config)
    details = runs.details(runs.find(name))
    if as_json:
        print_json({"status": "done", "exit_code": 0, **as_json_values(details)})
        return
    out.print(Text.assemble((details.view.name, "bold"), "  ", state_text(details.view.state)))
    for title, pairs in detail_pairs(details):
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for key, value in pairs:
            grid.add_row(Text(printable(key)), Text(printable(value)))
        out.print(Text(f"\n{title}", style="bold"))
        out.print(grid)


@app.command()
def logs(
    name: Name,
    tail: Annotated[int, typer.Option("--tail", min=1, help="The last so many lines of each.")] = 200,
    config: ConfigOption = None,
    as_json: AsJson = False,
) -> None:
    """What the flow and its trainer logged."""
    runs = open_runs(config)
    run = runs.find(name)
    lines = runs.history.logs(runs.with_subflows(run.id))[-tail:]
    key = runs.training_of(run.id)
    file = runs.home / "logs" / f"train-{key[:16]}.log"
    trainer = file.read_text(encoding="utf-8", errors="replace").splitlines()[-tail:] if key and file.is_file() else []
    if as_json:
        flow: list[dict[str, Any]] = [line.model_dump(mode="json") for line in lines]
        print_json({"status": "done", "exit_code": 0, "run": run.id, "flow": flow, "trainer": trainer})
        return
    for line in lines:
        style = "" if line.level <= _INFO else "yellow"
        out.print(Text(f"{line.at.astimezone():%H:%M:%S} {printable(line.message)}", style=style), soft_wrap=True)
    if trainer:
        out.print(Text(f"\ntrainer: {file}", style="bold"), soft_wrap=True)
    for text in trainer:
        out.print(Text(printable(text)), soft_wrap=True)


@app.command()
def cancel(name: Name, config: ConfigOption = None, as_json: AsJson = False) -> None:
    """End a run, here or at the worker. Its trainer writes a checkpoint first."""
    from deployments.runs.cancel import cancel as end

    runs = open_runs(config, prepare=False)
    ended = end(runs, runs.find(name))
    if as_json:
        print_json({"status": "done", "exit_code": 0, **ended.model_dump()})
    else:
        err.print(f"{ended.run[:8]}: {ended.text}", soft_wrap=True, markup=False)


for module in (runs_marks, runs_compare, runs_retry):
    module.add_to(app)
