"""`tuneloop data mix`: several versions as one."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from deployments.commands.config import AsJson
from deployments.commands.console import out, print_json
from deployments.commands.data_home import open_store
from deployments.commands.models import ConfigOption
from tasks.errors import UsageError


def add_to(app: typer.Typer) -> None:
    app.command()(mix)


def mix(
    name: Annotated[str, typer.Argument(help="Name of the mixture; it belongs to the project of the first part.")],
    parts: Annotated[list[str], typer.Argument(help="ds://project/name@1.2.0=WEIGHT; two or more.", metavar="PART...")],
    rows: Annotated[
        int | None,
        typer.Option("--rows", min=1, help="Rows to train on; else as many as there are without repetition."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the draw.")] = 17,
    config: ConfigOption = None,
    as_json: AsJson = False,
) -> None:
    """A new version from weighted shares of others; nothing that any of them holds out is trained on."""
    store = open_store(config)
    from pydantic import ValidationError

    from tasks.version.mix import MixtureConfig, MixturePart
    from tasks.version.mix import mix as make

    split = [_part(text) for text in parts]
    try:
        found = [MixturePart(address=address, weight=weight) for address, weight in split]
        mixture = MixtureConfig(name=name, parts=tuple(found), rows=rows, seed=seed)
    except ValidationError as error:
        raise UsageError("this mixture is not possible", where="data mix",
                         why="; ".join(e["msg"] for e in error.errors(include_url=False, include_input=False)),
                         remedy="give two or more versions, each once, with weights above 0") from error  # fmt: skip
    version = make(mixture, store)
    if as_json:
        print_json({"status": "done", "exit_code": 0, **version.model_dump(mode="json")})
    else:
        out.print(
            f"{version.address}: {version.train_rows} rows to train on, {version.test_rows} held out", markup=False
        )


def _part(text: str) -> tuple[str, float]:
    """Address and weight of one argument; 1 where no weight is given."""
    address, _, weight = text.partition("=")
    try:
        number = float(weight or 1)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError("the weight of a part is not a number", where=text, remedy="write ds://project/name@1.2.0=3")
    return address, number
