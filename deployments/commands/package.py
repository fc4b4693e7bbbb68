"""`tuneloop models package`: a folder that answers without Tuneloop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployments.commands.config import AsJson
from deployments.commands.console import out, print_json
from deployments.environment import prepare_home, use_home
from tasks.errors import UsageError


def package(
    name: Annotated[str, typer.Argument(help="NAME@champion, NAME@challenger or NAME@VERSION; NAME is the champion.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder to write; it must not exist.")],
    merged: Annotated[
        bool, typer.Option("--merged", help="Also base plus adapter as one model, compared with the adapter.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option("--config", help="Configuration whose .tuneloop/ is meant; else this directory's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write adapter or merged weights, tokenizer, inference script, requirements, README and example prompts."""
    prepare_home(use_home(config))
    from tasks.adapters import registry
    from tasks.adapters.store import Store
    from tasks.register.package import check_out, held_out_rows, make_package

    check_out(folder)
    model, _, alias = name.partition("@")
    served = registry.served(model, int(alias) if alias.isdigit() else alias or "champion")
    if served is None:
        raise UsageError("there is no such model version", where=name, remedy=f"see `tuneloop models list {model}`")
    card = registry.text(model, served.version, "model_card.md")
    rows = held_out_rows(Store.open().path(served.dataset_uri))
    made = make_package(served, rows, card, folder, merged=merged)
    if as_json:
        print_json({"status": "done", "exit_code": 0, "name": model, "version": served.version, **made.model_dump()})
        return
    out.print(
        f"{model} version {served.version}: {len(made.files)} files in {made.folder}", markup=False, soft_wrap=True
    )
    if made.merged:
        out.print(
            f"merged: {made.merged.same_answers:.0%} of {made.merged.rows} held-out answers are the same, mean loss "
            f"{made.merged.loss_before:.4f} → {made.merged.loss_after:.4f}",
            soft_wrap=True,
        )
