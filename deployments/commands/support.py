"""`tuneloop support`: one archive with what somebody else needs to help with a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.commands.config import AsJson
from deployments.commands.console import err, print_json
from deployments.commands.models import ConfigOption
from deployments.commands.runs_home import open_runs
from tasks.errors import UsageError

if TYPE_CHECKING:
    from deployments.runs.prefect_history import FlowRun
    from deployments.runs.views import Runs

LATEST = "latest"


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("support")(support)


def support(
    name: Annotated[str, typer.Argument(help="Id, name or tag of a run, or latest.", metavar="RUN|latest")] = LATEST,
    file: Annotated[Path | None, typer.Option("--out", help="Archive to write; default: support-RUN.zip here.")] = None,
    config: ConfigOption = None,
    as_json: AsJson = False,
) -> None:
    """Configuration, log, events and environment of a run in one archive: no rows, no personal data, no secrets."""
    from deployments.support_bundle import write_bundle

    if file is not None and file.is_dir():
        raise UsageError("the archive needs a file", where=f"--out {file}", why="it is a folder",
                         remedy=f"--out {file / 'support.zip'}")  # fmt: skip
    runs = open_runs(config, prepare=False)
    run = _run(runs, name)
    target = file or Path(f"support-{run.id[:8]}.zip")
    names = write_bundle(runs, run, target)
    if as_json:
        print_json({"status": "done", "exit_code": 0, "run": run.id, "file": str(target), "contents": names})
        return
    err.print(f"{target}: {', '.join(names)}", markup=False, soft_wrap=True)
    err.print("no rows, no personal data, no secrets are in it; look through it before you send it", style="dim")


def _run(runs: Runs, name: str) -> FlowRun:
    if name != LATEST:
        return runs.find(name)
    newest = runs.top()
    if not newest:
        raise UsageError(
            "there is no run here yet", where=str(runs.home), remedy="start one with `tuneloop run CONFIG`"
        )
    return newest[0]
