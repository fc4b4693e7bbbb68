"""What all commands share: where text goes, one JSON object on standard output, errors as people read them."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console

from tasks.errors import TuneloopError

err = Console(stderr=True, highlight=False)
out = Console(highlight=False)


def print_json(value: dict[str, Any]) -> None:
    """The one JSON object of a command with `--json`."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
    sys.stdout.flush()


def print_error(error: TuneloopError) -> None:
    """A coded error: headline, then where, why and what to do next."""
    err.print(f"[bold red]{error.code}[/]", end=" ")
    err.print(error.what, markup=False, style="bold", soft_wrap=True)
    for name, text in error.details():
        if text:
            err.print(f"  [dim]{name + ':':<6}[/]", end=" ")
            err.print(text, markup=False, soft_wrap=True)
    err.print(f"  [dim]see   docs/errors.md#{error.code.lower()}[/]")


def error_json(error: TuneloopError) -> dict[str, Any]:
    """A coded error as the JSON object of a command."""
    return {
        "status": error.status,
        "exit_code": error.exit_code,
        "error": {
            "code": error.code,
            "page": f"docs/errors.md#{error.code.lower()}",
            "what": error.what,
            "where": error.where,
            "why": error.why,
            "remedy": error.remedy,
        },
    }
