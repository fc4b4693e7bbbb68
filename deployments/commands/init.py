"""`tuneloop init FILE...`: look at raw data and write a commented configuration that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployments.commands.config import AsJson, TemplateName, find_template
from deployments.commands.console import err, out, print_json
from deployments.environment import quiet
from tasks.errors import UsageError

_MOST_MINUTES = 365 * 24 * 60.0


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("init")(init)


def init(
    files: Annotated[list[Path], typer.Argument(help="Data files or folders: JSON, JSONL, CSV, TSV, TXT, Markdown.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Configuration to write.")] = Path("config.yaml"),
    minutes: Annotated[float, typer.Option(min=1, help="Time limit for training and evaluation together.")] = 10.0,
    project: Annotated[str, typer.Option(help="Name of the project; empty: from the first file.")] = "",
    template: TemplateName = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing configuration.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at raw data and write a commented configuration that runs within a time limit."""
    quiet()
    if output.exists() and not force:
        raise UsageError(
            "the configuration exists already",
            where=str(output),
            remedy="choose another name with --output, or overwrite it with --force",
        )
    from deployments.commands.doctor import gemm_gflops
    from deployments.first_config import check_project, describe
    from deployments.first_look import look_at
    from tasks.adapters.store import write_atomically

    check_project(project)
    _check_minutes(minutes)
    saved = find_template(template, output)
    look = look_at(files, output.resolve().parent)
    text, sizes = describe(look, minutes=minutes, gflops=gemm_gflops(), project=project, template=saved)
    _check_loads(text, output, template)
    write_atomically(output, text)
    if as_json:
        left_out = [sentence for source in look.sources for sentence in source.left_out]
        found = {"config": str(output), "left_out": left_out, **sizes.model_dump()}
        print_json({"status": "done", "exit_code": 0, **found})
        return
    for source in look.sources:
        err.print(
            f"{source.path}: {source.shape}, {source.usable} of {source.rows} rows usable ({source.why})",
            soft_wrap=True,
            markup=False,
        )
        for sentence in source.left_out:
            err.print(sentence, soft_wrap=True, markup=False)
    err.print(sizes.sentence, soft_wrap=True, markup=False)
    out.print(f"wrote {output}\nnext: tuneloop run {output}", soft_wrap=True, markup=False)


def _check_minutes(minutes: float) -> None:
    if minutes > _MOST_MINUTES:
        raise UsageError("this cannot be a time limit", where=f"--minutes {minutes}", why="the most is a year",
                         remedy="e.g. --minutes 30")  # fmt: skip


def _check_loads(text: str, output: Path, template: str) -> None:
    """Refuse here what every other command would refuse once it is written."""
    from deployments.config_file import config_from

    try:
        config_from(text, output)
    except UsageError as error:
        raise UsageError(
            error.what,
            where=error.where,
            why=f"{output} would not load{f' with template {template}' if template else ''}, so it was not written",
            remedy=error.remedy,
        ) from error
