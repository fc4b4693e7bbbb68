"""A flow for tests of the local pool: writes what it was given, and where it ran, into a file."""

import json
import os
from pathlib import Path

from prefect import flow

from tasks.contracts import Record


class Wish(Record):
    """A parameter with a form."""

    target: str
    number: int = 1


@flow(name="trivial")
def trivial(config: Wish, reason: str = "") -> int:
    """Write the parameters into the target."""
    seen = {"number": config.number, "reason": reason, "folder": str(Path.cwd()), "home": os.environ["TUNELOOP_HOME"]}
    Path(config.target).write_text(json.dumps(seen), encoding="utf-8")
    return config.number
