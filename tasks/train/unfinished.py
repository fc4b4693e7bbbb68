"""Trainings that were begun and not finished: which checkpoint a new training does not use, and why.

A training goes on by itself where data, base model and configuration are the same. Otherwise it is a new one, and it
says which checkpoint it leaves alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from tasks.adapters.mirror import Mirror
from tasks.adapters.store import Store, write_atomically
from tasks.contracts import BaseModelRef, DatasetVersion, Digest, Record
from tasks.errors import ResumeMismatch
from tasks.train.checkpoint import MARKER
from tasks.train.checkpoints import TRAINING
from tasks.train.recipe import Recipe

STAGE = "train"
_SHOWN = 3


class Begun(Record):
    """What a training is made of; lies beside its checkpoints."""

    key: Digest
    dataset: str = Field(description="Address of the dataset version.")
    dataset_digest: Digest
    base: str
    base_digest: Digest
    start: Digest = Field("", description="Adapter or model it goes on from.")
    recipe: dict[str, Any] = Field(description="Values that decide what is learned.")
    not_used: tuple[str, ...] = Field((), description="Checkpoints of other trainings that were there and not used.")


class Unfinished(Record):
    """A training that did not come to its end."""

    begun: Begun
    step: int = Field(ge=0, description="Newest complete checkpoint; 0: none.")

    @property
    def name(self) -> str:
        """How people name it: `--resume NAME`."""
        return self.begun.key[:12]


def begun_of(key: Digest, dataset: DatasetVersion, base: BaseModelRef, recipe: Recipe, start: Digest) -> Begun:
    """What a training is made of."""
    return Begun(
        key=key,
        dataset=dataset.address,
        dataset_digest=dataset.digest,
        base=base.name,
        base_digest=base.digest,
        start=start,
        recipe=recipe.learning_part(),
    )


def begin(begun: Begun, work: Path, store: Store) -> Begun:
    """Note beside the checkpoints what is trained, where later commands find it; or read what the first start noted."""
    note = work / "checkpoints" / TRAINING
    before = _read(note.read_bytes()) if note.is_file() else None
    if before and before.key == begun.key:
        return before
    made = begun.model_copy(update={"not_used": tuple(not_used(unfinished(store), begun))})
    write_atomically(note, made.model_dump_json(indent=1))
    return made


def unfinished(store: Store) -> list[Unfinished]:
    """All unfinished trainings of this home and of its object store, the one that came furthest first."""
    found: dict[str, Unfinished] = {}
    for one in (*_local(store), *_remote(store)):
        if one.begun.key not in found or one.step > found[one.begun.key].step:
            found[one.begun.key] = one
    return sorted(found.values(), key=lambda one: -one.step)


def _local(store: Store) -> Iterator[Unfinished]:
    for note in sorted((store.root / "work" / STAGE).glob(f"*/checkpoints/{TRAINING}")):
        begun = _read(note.read_bytes())
        if begun:
            steps = [path.parent.name for path in note.parent.glob(f"step-*/{MARKER}")]
            yield Unfinished(begun=begun, step=_newest(steps))


def _remote(store: Store) -> Iterator[Unfinished]:
    for key in store.remote_work(STAGE):
        mirror = Mirror(store.remote_work_uri(STAGE, key), MARKER)
        begun = _read(mirror.read_file(TRAINING))
        if begun:
            yield Unfinished(begun=begun, step=_newest(mirror.names()))


def _read(content: bytes) -> Begun | None:
    try:
        return Begun.model_validate_json(content)
    except ValidationError:
        return None


def _newest(names: list[str]) -> int:
    return max((int(name.removeprefix("step-")) for name in names), default=0)


def differences(before: Begun, now: Begun) -> list[str]:
    """What differs between two trainings, field by field, as `name old → new`."""
    found = []
    if before.dataset_digest != now.dataset_digest:
        addresses = f"{before.dataset} → {now.dataset}" if before.dataset != now.dataset else "other rows"
        found.append(f"dataset {addresses}")
    if before.base_digest != now.base_digest:
        found.append(f"model.base {before.base} → {now.base}" if before.base != now.base else "model.base: other files")
    if before.start != now.start:
        found.append("train.start_from")
    for name in sorted({*before.recipe, *now.recipe}):
        old, new = before.recipe.get(name), now.recipe.get(name)
        if old != new:
            found.append(f"train.{name} {_said(old)} → {_said(new)}")
    return found or ["the release of Tuneloop"]


def _said(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value).strip('"')


def not_used(others: list[Unfinished], now: Begun) -> list[str]:
    """For people: checkpoints of trainings on this data set that a new training leaves alone, and why."""
    if any(one.begun.key == now.key and one.step for one in others):
        return []
    name = now.dataset.rsplit("@", 1)[0]
    related = [one for one in others if one.step and one.begun.dataset.rsplit("@", 1)[0] == name]
    return [
        f"the checkpoint at step {one.step} of the unfinished training {one.name} was not used: "
        f"{'; '.join(differences(one.begun, now))}"
        for one in related[:_SHOWN]
    ]


def check_resume(wanted: str, others: list[Unfinished], now: Begun, finished: bool) -> None:
    """Make sure that the training that was to be resumed is this one.

    Args:
        wanted: its key, or the beginning of it; empty: none was named.
        finished: whether this training's result is there already.

    Raises:
        ResumeMismatch: it is another one, or there is none.
    """
    if not wanted or (now.key.startswith(wanted) and (finished or any(one.begun.key == now.key for one in others))):
        return
    named = [one for one in others if one.begun.key.startswith(wanted)]
    if len(named) == 1:
        raise ResumeMismatch(
            f"the training {named[0].name} cannot be resumed with this data and configuration",
            where=f"checkpoint at step {named[0].step}",
            why="; ".join(differences(named[0].begun, now)),
            remedy="give it the same values again, or leave --resume out: then a new training begins",
        )
    known = ", ".join(f"{one.name} (step {one.step})" for one in others) or "none"
    raise ResumeMismatch(
        f"there is no unfinished training {wanted!r}" if not named else f"{wanted!r} names several trainings",
        where="--resume",
        why=f"unfinished trainings here: {known}",
        remedy="name one of them, or leave --resume out",
    )
