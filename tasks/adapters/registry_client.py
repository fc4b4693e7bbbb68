"""How the MLflow client is made: lazily, without telemetry or progress bars, with coded errors.

MLflow takes over a second to import, so that only functions that talk to it load it.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.adapters.claim import claim
from tasks.errors import EnvironmentUnusable
from tasks.settings import Settings

_ENVIRONMENT = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # standard output belongs to --json
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
_SQLITE = "sqlite:///"
_FILE_FAILURE = re.compile(r"^##### File (.+?) #####\n(.*)", re.MULTILINE)
_USER = re.compile(r"(?<=://)[^/\s'\"]*@")
_PARAMETERS = re.compile(r"\?[\w%.-]+=[^\s'\"<>)]*")


def client() -> Any:
    """MLflow client of the tracking URI that the settings name; its database is made on first use."""
    settings = Settings()
    return _client(settings.mlflow, settings.root)


@functools.lru_cache(maxsize=8)
def _client(url: str, root: Path) -> Any:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if url.startswith(_SQLITE):
        Path(url.removeprefix(_SQLITE)).parent.mkdir(parents=True, exist_ok=True)
    with claim(root / "locks" / "mlflow.lock", "set-up of the model registry"), registry_errors():
        made = MlflowClient(tracking_uri=url, registry_uri=url)
        made.search_registered_models(max_results=1)
    return made


def experiment(name: str) -> str:
    """Id of the experiment of a model, made when there is none.

    A local database gets an explicit artifact location below HOME, or MLflow would write into the working
    directory. A tracking server decides for itself where artifacts lie.
    """
    from mlflow.exceptions import MlflowException

    settings = Settings()
    found = client().get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    local = not is_server(settings.mlflow)
    folder = settings.root / "mlflow" / "artifacts" / name
    try:
        return str(client().create_experiment(name, artifact_location=folder.as_uri() if local else None))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return str(client().get_experiment_by_name(name).experiment_id)  # made by another thread or process in between


def is_server(url: str) -> bool:
    """Whether a tracking URI is a server with pages for people."""
    return url.startswith(("http://", "https://"))


def fetch(uri: str, target: Path) -> Path:
    """Copy a folder of artifacts below `target`; where it lies then.

    Raises:
        EnvironmentUnusable: it is not there, or cannot be read.
    """
    client()
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        return Path(download_artifacts(artifact_uri=uri, dst_path=str(target), tracking_uri=Settings().mlflow))
    except MlflowException as error:
        raise EnvironmentUnusable(
            "registered files cannot be fetched",
            where=without_secrets(uri),
            why=_why_not_fetched(str(error)),
            remedy="make that place readable, restore the registry's artifacts, or roll back to another version",
        ) from error


def _why_not_fetched(text: str) -> str:
    """MLflow tells first that something failed, and the cause of each file below it."""
    causes = [f"{file}: {cause}" for file, cause in _FILE_FAILURE.findall(text)]
    return _short("; ".join(causes) or text)


def _short(text: str) -> str:
    return without_secrets(text.strip().partition("\n")[0])[:300]


def without_secrets(text: str) -> str:
    """A text as people are told it: addresses in it without user, password and values of parameters."""
    return _USER.sub("", _PARAMETERS.sub("", text))


@contextlib.contextmanager
def registry_errors() -> Iterator[None]:
    """Turn what MLflow and its transport raise into a coded error."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError) as error:
        raise EnvironmentUnusable(
            "the model registry cannot be used",
            where=without_secrets(Settings().mlflow),
            why=_short(str(error)) or type(error).__name__,
            remedy="check that TUNELOOP_MLFLOW_URL names a running MLflow or a writable database, then repeat: "
            "nothing is registered twice",
        ) from error
