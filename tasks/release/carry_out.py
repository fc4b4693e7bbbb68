"""Promotion of a version that may be promoted: smoke call, compare-and-swap, and what is noted when it fails."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tasks.adapters import registry, release_history, releases
from tasks.adapters.candidate_server import candidate_server
from tasks.adapters.claim import claim
from tasks.adapters.store import Store
from tasks.contracts import RegisteredModel, Release, ServedModel
from tasks.errors import ReleaseFailed, TuneloopError
from tasks.release.config import ReleaseConfig
from tasks.release.decide import Plan, decide
from tasks.release.smoke import pick_prompts, problems
from tasks.settings import Settings
from tasks.tokens import encode_prompt, load_tokenizer

AUTOMATIC = "tuneloop"


def plan(model: RegisteredModel, config: ReleaseConfig) -> Plan:
    """What would be done with a version now, without a person's word."""
    compared = registry.tags(model.name, model.version)["compared_with"]
    history, champion = release_history.history(model.name), release_history.champion(model.name)
    return decide(model, history, champion, int(compared) if compared else None, config.approval)


def releasing(name: str) -> contextlib.AbstractContextManager[None]:
    """One release of a model at a time, whoever makes it."""
    return claim(Settings().root / "locks" / f"release-{name}.lock", f"the release of {name}")


def serving(name: str) -> int | None:
    """Version that is champion now; None without one."""
    current = release_history.champion(name)
    return current.version if current else None


def promote(model: RegisteredModel, config: ReleaseConfig, actor: str, reason: str, expected: int | None) -> Release:
    """Smoke call, then the champion changes.

    Args:
        expected: champion that the decision was made for; None without one.

    Raises:
        ReleaseFailed: the candidate did not serve as it should, or another one became champion meanwhile.
    """
    if expected == model.version:
        return Release(model=model, status="already_champion", text=f"version {model.version} is champion already")
    try:
        _smoke(model, config)
    except TuneloopError as error:
        why = error.why or error.what
        release_history.note(model.name, model.version, model.adapter_digest, "failed", actor, why)
        releases.reconcile(model.name)
        raise
    releases.promote(model.name, model.version, expected, actor, reason)
    text = f"version {model.version} is champion: {reason}"
    return Release(model=model.model_copy(update={"alias": "champion"}), status="promoted", text=text)


def hold(model: RegisteredModel, decided: Plan) -> Release:
    """Note that a version is not promoted by this run, and why."""
    status = decided.action
    assert status != "promote", "a version that may be promoted is not held"
    if status == "waiting_for_approval":
        note = (model.name, model.version, model.adapter_digest, "waiting", AUTOMATIC, decided.text)
        release_history.note(*note)  # type: ignore[arg-type]
        releases.reconcile(model.name)
    return Release(model=model, status=status, text=decided.text)


def _smoke(model: RegisteredModel, config: ReleaseConfig) -> None:
    served = registry.served(model.name, model.version)
    assert served is not None, "a registered version can be located"
    tokenizer = load_tokenizer(Path(served.base.path))
    prompts = pick_prompts(_held_out(served), config.smoke_rows)
    with candidate_server(model.name, model.version, config.startup_seconds) as server:
        found = problems(prompts, server.ask, lambda m: len(encode_prompt(tokenizer, m)), server.model_id)
    if found:
        raise ReleaseFailed(
            f"version {model.version} did not serve as it should",
            where=f"{model.name}@{model.version}",
            why="; ".join(found),
            remedy="the previous model goes on serving; train again or promote another version",
        )


def _held_out(served: ServedModel) -> Path:
    rows = Store.open().path(served.dataset_uri) / "test.jsonl"
    if rows.is_file():
        return rows
    raise ReleaseFailed(
        f"version {served.version} cannot be asked before it serves",
        where=f"{served.name}@{served.version}",
        why=f"the held-out rows of {served.dataset} are gone; the store no longer has {served.dataset_uri}",
        remedy="bring the store back, or train again on a dataset version that is there",
    )
