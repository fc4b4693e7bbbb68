"""Whether a registered version may become champion by itself: a pure decision with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from tasks.adapters.release_history import Champion, ReleaseStep, barred
from tasks.contracts import Record, RegisteredModel

Approval = Literal["automatic", "required"]


class Plan(Record):
    """What to do with a version, and why."""

    action: Literal["promote", "already_champion", "waiting_for_approval", "kept_previous"]
    text: str
    serving: int | None = Field(None, description="Champion that this was decided for; None without one.")


def decide(
    model: RegisteredModel,
    history: Sequence[ReleaseStep],
    champion: Champion | None,
    compared_with: int | None,
    approval: Approval,
) -> Plan:
    """What becomes of a version that passed the gate, without a person's word.

    Args:
        compared_with: version that was champion when this one was evaluated; None without one.
    """
    label, serving = f"version {model.version}", champion.version if champion else None
    if serving == model.version:
        return Plan(action="already_champion", text=f"{label} is champion already", serving=serving)
    decision = barred(history, model.adapter_digest)
    if decision is not None:
        how = decision.action.replace("_", " ")
        text = f"{label} was {how} by {decision.actor}: {decision.reason}; only a person can promote it again"
        return Plan(action="kept_previous", text=text, serving=serving)
    stale = serving != compared_with
    doubt = f"{label} was compared with {_named(compared_with)}, but now {_named(serving)} serves"
    if approval == "required":
        text = f"{label} waits as challenger until a person decides"
        return Plan(action="waiting_for_approval", text=f"{text}; {doubt}" if stale else text, serving=serving)
    if stale:
        return Plan(action="kept_previous", text=f"{doubt}; only a person can promote it", serving=serving)
    return Plan(action="promote", text=f"{label} passed the gate against {_named(serving)}", serving=serving)


def _named(version: int | None) -> str:
    return "no champion" if version is None else f"version {version}"
