"""Promotion, rollback and rejection of registered versions, by compare-and-swap on the champion's record.

The order is always: state database first (one transaction: champion and history), aliases in the registry after.
Whoever is killed between the two leaves aliases that are behind; `reconcile` brings them up to date.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from tasks.adapters import registry, release_history, state, tables
from tasks.adapters.claim import claim
from tasks.adapters.release_history import Champion
from tasks.errors import ReleaseFailed, UsageError
from tasks.settings import Settings


def reconcile(model: str) -> dict[str, int]:
    """Make the registry's aliases equal to what the state database says; alias → version, for every alias set.

    Read and written in one claim: of two runs at once the later one must not write what it read before the other.
    """
    with claim(Settings().root / "locks" / f"aliases-{model}.lock", f"aliases of {model}"):
        wanted = release_history.aliases(release_history.champion(model), release_history.history(model))
        if wanted or registry.exists(model):
            registry.set_aliases(model, wanted)
    return {str(alias): version for alias, version in wanted.items()}


def promote(model: str, version: int, expected_champion: int | None, actor: str, reason: str) -> Champion:
    """Make `version` the champion if `expected_champion` still is the champion.

    Raises:
        UsageError: the version is not registered here.
        ReleaseFailed: another version became champion in the meantime; nothing was changed.
    """
    digest = _adapter_digest(model, version)
    if version != expected_champion:
        with state.engine().begin() as connection:
            _swap(connection, model, version, expected_champion)
            release_history.append(connection, model, version, digest, "promoted", actor, reason)
    reconcile(model)
    return Champion(version=version, previous=expected_champion)


def rollback(model: str, actor: str, reason: str) -> Champion:
    """Exchange champion and previous version.

    A version that a person took out of production is not brought back by this: a repeated rollback would undo the
    first. The repeat brings the registry's aliases up to date, in case the first one could not.

    Raises:
        UsageError: there is no previous version to go back to, or a person decided against it.
        ReleaseFailed: someone else changed the champion at the same time.
    """
    current = release_history.champion(model)
    if current is None or current.previous is None:
        raise UsageError(
            "there is no previous version to roll back to",
            where=model,
            why="no version is champion" if current is None else f"version {current.version} was the first champion",
            remedy=f"tuneloop models list {model} shows every version; promote one of them",
        )
    restored, left = _adapter_digest(model, current.previous), _adapter_digest(model, current.version)
    _refuse_barred(model, current, restored)
    with state.engine().begin() as connection:
        _swap(connection, model, current.previous, current.version)
        release_history.append(connection, model, current.version, left, "rolled_back", actor, reason)
        text = f"restored when version {current.version} was rolled back: {reason}"
        release_history.append(connection, model, current.previous, restored, "promoted", actor, text)
    reconcile(model)
    return Champion(version=current.previous, previous=current.version)


def _refuse_barred(model: str, current: Champion, digest: str) -> None:
    decision = release_history.barred(release_history.history(model), digest)
    if decision is None:
        return
    reconcile(model)
    how = decision.action.replace("_", " ")
    raise UsageError(
        f"version {current.previous} was {how} already; version {current.version} goes on serving",
        where=model,
        why=f"{decision.actor} decided so: {decision.reason}",
        remedy=f"to put it into production again: tuneloop models promote {model} {current.previous} --reason ...",
    )


def reject(model: str, version: int, actor: str, reason: str) -> None:
    """Decide against a version: it is never promoted automatically.

    Raises:
        UsageError: the version is unknown, or it is the champion (that is a rollback).
    """
    digest = _adapter_digest(model, version)
    current = release_history.champion(model)
    if current is not None and current.version == version:
        raise UsageError(
            "the champion cannot be rejected",
            where=f"{model} version {version}",
            why="it is serving",
            remedy=f"tuneloop models rollback {model} --reason ... brings the previous version back",
        )
    release_history.note(model, version, digest, "rejected", actor, reason)
    reconcile(model)


def _swap(connection: sa.Connection, model: str, version: int, expected: int | None) -> None:
    table = tables.champions
    try:
        if expected is None:
            connection.execute(sa.insert(table).values(model=model, version=version, previous=None))
            return
    except IntegrityError as error:
        raise _lost(model, version, expected) from error
    where = (table.c.model == model) & (table.c.version == expected)
    done = connection.execute(sa.update(table).where(where).values(version=version, previous=expected))
    if done.rowcount != 1:
        raise _lost(model, version, expected)


def _lost(model: str, version: int, expected: int | None) -> ReleaseFailed:
    before = "no version" if expected is None else f"version {expected}"
    return ReleaseFailed(
        f"version {version} was not promoted: the champion changed in the meantime",
        where=model,
        why=f"{before} was champion when this release began, and no longer is",
        remedy="repeat the command: the candidate is then compared with the new champion",
    )


def _adapter_digest(model: str, version: int) -> str:
    for step in release_history.history(model):
        if step.version == version:
            return step.adapter_digest
    raise UsageError(
        f"there is no version {version} of this model",
        where=model,
        why="it was never registered in this home",
        remedy=f"tuneloop models list {model} shows every version",
    )
