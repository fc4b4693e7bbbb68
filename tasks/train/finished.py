"""The result that a finished training left in its work folder, before the store has it.

Between the last step and the store's commit a command can still fail: an upload, a full disk, a kill. The next one
takes what lies there instead of training again.
"""

from __future__ import annotations

from pathlib import Path

from tasks.digest import digest_file
from tasks.train.plan import Job
from tasks.train.worker import RESULT, Result

TAKEN = "the training was finished already; its result is taken"


def finished(job: Job) -> Result | None:
    """The complete, undamaged result of this very training; None where there is none."""
    try:
        result = Result.model_validate_json((job.work / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result if result.key == job.key and result.files and _undamaged(job.work, result) else None


def _undamaged(work: Path, result: Result) -> bool:
    return all((work / name).is_file() and digest_file(work / name) == d for name, d in result.files.items())
