"""Errors that end a run are counted, so that `tuneloop runs errors` shows which occur how often."""

from __future__ import annotations

import logging

from tasks.errors import TuneloopError

log = logging.getLogger("tuneloop.errors")


def count_error(error: TuneloopError, project: str) -> None:
    """Count an error that ended a run. Those of the trainer were counted where it was supervised.

    A database that fails must not hide the error itself, so its own trouble is only logged.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from tasks.adapters.failure_log import note
    from tasks.train.failures import KINDS

    if error.code in KINDS:
        return
    try:
        note(error.code, project, change="the run ended", repaired=False)
    except (SQLAlchemyError, TuneloopError, OSError) as trouble:
        log.warning("the error was not counted (%s)", type(trouble).__name__)
