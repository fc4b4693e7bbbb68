"""What the commands on dataset versions share: the address argument and the store of this home."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.environment import prepare_home, use_home

if TYPE_CHECKING:
    from tasks.adapters.store import Store

Address = Annotated[str, typer.Argument(help="ds://project/name@1.2.0; without a number, the newest.")]


def open_store(config: Path | None) -> Store:
    """The store of the home that the configuration, or the working directory, has."""
    from tasks.adapters.store import Store

    prepare_home(use_home(config))
    return Store.open()
