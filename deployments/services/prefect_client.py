"""Points Prefect's clients in this process at one server."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from deployments.services.prefect_process import base_environment


@contextlib.contextmanager
def reporting_to(home: Path, url: str) -> Iterator[None]:
    """Point Prefect in this process, its threads and its children at one server; afterwards as before."""
    from prefect import context, settings

    before = dict(os.environ)
    wanted = {**base_environment(home), "PREFECT_API_URL": url}
    os.environ.update(wanted)
    context.refresh_global_settings_context()  # what threads without a context of their own see
    try:
        with settings.temporary_settings(_updates(wanted)):
            yield
    finally:
        _restore(before, wanted)
        context.refresh_global_settings_context()


def _updates(environment: Mapping[str, str]) -> dict[object, str]:
    from prefect import settings

    return {getattr(settings, name): value for name, value in environment.items() if hasattr(settings, name)}


def _restore(before: Mapping[str, str], changed: Mapping[str, str]) -> None:
    for name in changed:
        if name in before:
            os.environ[name] = before[name]
        else:
            os.environ.pop(name, None)
