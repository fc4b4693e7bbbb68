"""What repairs did to a training, kept beside its checkpoints: a later start needs it to go on exactly."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from tasks.adapters.store import write_atomically
from tasks.contracts import Record
from tasks.errors import TrainingFailed
from tasks.train.amendments import Amendment
from tasks.train.failures import Failure
from tasks.train.next_attempt import Plan

NAME = "repairs.json"


class RepairLog(Record):
    """All repairs of one training, over every command that worked on it."""

    amendments: tuple[Amendment, ...] = Field((), description="Changes that hold, oldest first.")
    said: tuple[str, ...] = Field((), description="Each repair in words: failure, step, change.")

    def after(self, failure: Failure, plan: Plan) -> RepairLog:
        """With one more repair."""
        at = f" at step {failure.step}" if failure.step else ""
        said = f"{failure.code}{at}: {failure.text}; {plan.change}"
        return RepairLog(amendments=(*self.amendments, *plan.amendments), said=(*self.said, said))


def read_log(checkpoints: Path) -> RepairLog:
    """The repairs of a training; none where there were none.

    Raises:
        TrainingFailed: the file is damaged. To train on without what it says would give another result in silence.
    """
    file = checkpoints / NAME
    try:
        return RepairLog.model_validate_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return RepairLog()
    except (OSError, ValidationError) as error:
        raise TrainingFailed(
            "the record of repairs cannot be read",
            where=str(file),
            why=type(error).__name__,
            remedy="put it back from a backup, or remove the folder it lies in: the training then begins anew",
            code="TL-TRAIN-REPAIRS",
        ) from error


def write_log(checkpoints: Path, repairs: RepairLog) -> None:
    """Keep the repairs before they take effect."""
    write_atomically(checkpoints / NAME, repairs.model_dump_json(indent=1))
