"""What is finished of `make chaos-train`, so that it can be cut off and go on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tasks.digest import digest_folder, digest_of

_CODE = ("tasks", "bench")


class Journal:
    """One line for each finished task. Results of other code or other options are not taken.

    Args:
        file: JSON lines; the first says what the results belong to.
        options: what changes the tasks.
    """

    def __init__(self, file: Path, options: dict[str, Any]) -> None:
        self._file = file
        belongs = {"code": _code_digest(), "options": options}
        lines = _lines(file)
        if not lines or lines[0] != belongs:
            if lines:
                print("the journal belongs to other code or options: starting anew", flush=True)
            file.write_text(json.dumps(belongs) + "\n", encoding="utf-8")
            lines = lines[:0]
        self.results: dict[str, dict[str, Any]] = {line["task"]: line["outcome"] for line in lines[1:]}

    def __contains__(self, task: str) -> bool:
        return task in self.results

    def __getitem__(self, task: str) -> dict[str, Any]:
        return self.results[task]

    def add(self, task: str, outcome: dict[str, Any]) -> None:
        """Note a finished task; it is on the disk when this returns."""
        self.results[task] = outcome
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"task": task, "outcome": outcome}) + "\n")
            stream.flush()
            os.fsync(stream.fileno())


def _lines(file: Path) -> list[dict[str, Any]]:
    """Whole lines only: the last one may have been cut off."""
    if not file.is_file():
        return []
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def _code_digest() -> str:
    """Over the code that takes part: the trainer, what it imports, and this bench."""
    root = Path(__file__).parent.parent
    files = {
        folder: [str(p.relative_to(root / folder)) for p in (root / folder).rglob("*.py") if _takes_part(p)]
        for folder in _CODE
    }
    return digest_of([digest_folder(root / folder, names) for folder, names in files.items()])


def _takes_part(path: Path) -> bool:
    return "train" in path.as_posix() or path.parent.name in ("inference", "tasks")
