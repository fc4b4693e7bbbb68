"""Coded errors: what happened, where, why, and what to do next.

Everything a user can cause or has to act on is raised as one of these; any other exception that reaches the
command line is a bug in Tuneloop (exit code 1).
"""

from __future__ import annotations


class TuneloopError(Exception):
    """What every error of ours carries.

    Args:
        what: one sentence, what happened.
        where: file, row, field, address or command the error is about.
        why: the cause, as far as it is known.
        remedy: what the reader can do next.
        code: a finer code than the kind's own, e.g. TL-TRAIN-OOM-GPU; docs/errors.md has a section for each.
    """

    code = "TL-000"
    exit_code = 1
    status = "failed"

    def __init__(self, what: str, *, where: str = "", why: str = "", remedy: str = "", code: str = "") -> None:
        super().__init__(what, where, why, remedy)
        self.code = code or type(self).code
        self.what, self.where, self.why, self.remedy = what, where, why, remedy

    def __str__(self) -> str:
        parts = [f"{self.code}: {self.what}"]
        parts += [f"  {name}: {text}" for name, text in self.details() if text]
        return "\n".join(parts)

    def __reduce__(self) -> tuple[object, ...]:
        """Errors travel from worker processes, which keyword arguments alone would not survive."""
        return _rebuilt, (type(self), self.what, self.where, self.why, self.remedy, self.code)

    def details(self) -> tuple[tuple[str, str], ...]:
        """The parts below the headline, in reading order."""
        return (("where", self.where), ("why", self.why), ("next", self.remedy))


def _rebuilt(kind: type[TuneloopError], what: str, where: str, why: str, remedy: str, code: str = "") -> TuneloopError:
    return kind(what, where=where, why=why, remedy=remedy, code=code)


class UsageError(TuneloopError):
    """Wrong usage, a broken configuration, a misspelt key, an unknown model."""

    code, exit_code = "TL-USAGE", 2


class ModelUnavailable(UsageError):
    """A base model cannot be had under the name that was given."""

    code = "TL-MODEL"


class ResumeMismatch(UsageError):
    """A training that was to be resumed has other data, another base model or another configuration."""

    code = "TL-RESUME"


class Refusal(TuneloopError):
    """An answer, not a crash: the run ends in the completed-type state `Refused`."""

    code, exit_code, status = "TL-REFUSED", 10, "refused"


class DataRefused(Refusal):
    """Nothing usable in the data, or a critical rule of the dataset is broken."""

    code, exit_code, status = "TL-DATA", 20, "data_refused"


class BudgetRefused(Refusal):
    """The run would exceed a budget or a capacity."""

    code, exit_code = "TL-BUDGET", 40


class TrainingFailed(TuneloopError):
    """The trainer ended without an adapter."""

    code, exit_code = "TL-TRAIN", 30


class EnvironmentUnusable(TuneloopError):
    """Disk, port, tool or permission: the machine cannot do what was asked."""

    code, exit_code = "TL-ENV", 50


class ReleaseFailed(TuneloopError):
    """The candidate did not serve as it should; the previous model goes on serving."""

    code, exit_code = "TL-RELEASE", 60


class EvaluationFailed(TrainingFailed):
    """The evaluation ended without scores for every system."""

    code = "TL-EVALUATE"
