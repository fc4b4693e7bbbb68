"""What of the store may go: the decision, without touching anything. Pure.

Outputs of the data stages, generated answers and adapters that were never registered can be made again; what nothing
refers to and nobody used for some time is only in the way. What cannot be made again the same stays: dataset versions,
the adapters of registered models, and the verdicts on adapters (a repeated run has to find the verdict of the first).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from pydantic import Field

from tasks.contracts import Record

VERDICTS, VERSION = ("evaluate", "gate"), "version"


class Stored(Record):
    """One output in the store."""

    uri: str
    bytes: int = Field(ge=0)
    used: datetime | None = Field(description="When it was made or last asked for; None where nothing says so.")
    complete: bool = Field(description="Whether its marker is there and can be read.")
    adapter: str = Field("", description="Digest of the adapter that it holds.")
    shards: tuple[str, ...] = Field((), description="Outputs that hold the rows which it lists.")

    @property
    def stage(self) -> str:
        return self.uri.removeprefix("store://").split("/")[0]


class References(Record):
    """What refers to outputs."""

    versions: Mapping[str, str] = Field(description="URI → address of the dataset version, or model trained on it.")
    adapters: Mapping[str, str] = Field(description="Digest of an adapter → registered model.")
    validation: str = Field("", description="URI of the newest validation: the rows that people see in quarantine.")


class Verdict(Record):
    """What becomes of one output, and why."""

    uri: str
    bytes: int
    goes: bool
    why: str


def decide(outputs: Sequence[Stored], references: References, now: datetime, unused: timedelta) -> tuple[Verdict, ...]:
    """For every output whether it may go.

    Args:
        unused: how long nobody must have used it.
    """
    kept = {o.uri: why for o in outputs if (why := _reference(o, references) or _recent(o, now, unused))}
    shards = {o.uri: o.shards for o in outputs}
    waiting = list(kept)
    while waiting:
        holder = waiting.pop()
        named = [uri for uri in shards.get(holder, ()) if uri not in kept]
        kept.update(dict.fromkeys(named, f"holds rows of {holder}"))
        waiting += named
    return tuple(
        Verdict(uri=o.uri, bytes=o.bytes, goes=o.uri not in kept, why=kept.get(o.uri) or _why(o)) for o in outputs
    )


def _reference(output: Stored, references: References) -> str:
    if address := references.versions.get(output.uri):
        return f"rows of {address}"
    if output.complete and output.stage == VERSION:
        return "a dataset version that this state database does not know"
    if model := references.adapters.get(output.adapter):
        return f"adapter of {model}"
    if output.complete and output.stage in VERDICTS:
        return "a verdict on an adapter"
    return "rows in quarantine" if output.uri == references.validation else ""


def _recent(output: Stored, now: datetime, unused: timedelta) -> str:
    recent = output.used is not None and now - output.used < unused
    return f"used in the last {unused.days} days" if recent else ""


def _why(output: Stored) -> str:
    return "nothing refers to it" if output.complete else "was never finished"
