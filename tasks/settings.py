"""Where things are: environment variables TUNELOOP_*, never part of a RunConfig.

Parameters change results and are logged with every run; settings only say where things lie and listen.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Read afresh with `Settings()` wherever it is needed: flows run in processes of their own."""

    model_config = SettingsConfigDict(env_prefix="TUNELOOP_", frozen=True, extra="ignore")

    home: Path = Field(Path(".tuneloop"), description="Folder for the store, the databases, logs and keys.")
    store_uri: str = Field("", description="fsspec URI of the content-addressed store; empty: HOME/store.")
    state_url: str = Field("", description="SQLAlchemy URL of the state database; empty: SQLite at HOME/state.db.")
    mlflow_url: str = Field("", description="MLflow tracking URI; empty: SQLite at HOME/mlflow/mlflow.db.")
    models_dir: Path | None = Field(
        None, description="Cache of base models, shared by all homes; empty: $XDG_CACHE_HOME/tuneloop/models."
    )
    prefect_port: int = Field(4200, description="Preferred port of the Prefect server that `up` starts.")
    mlflow_port: int = Field(5000, description="Preferred port of the MLflow server that `up` starts.")
    gateway_port: int = Field(8800, description="Preferred port of the gateway that `up` starts.")

    engine: Literal["local", "ray"] = Field("local", description="Where the data stages work on their shards.")
    workers: int = Field(
        0, ge=0, description="Local worker processes of the data stages; 0: one for each core and each 4 MB of rows."
    )
    ray_address: str = Field("auto", description="Address of the Ray cluster; `local` starts one on this machine.")

    trainer: Literal["process", "kubernetes"] = Field(
        "process", description="Where trainers run: processes of this machine, or jobs of a Kubernetes cluster."
    )
    trainer_template: Path = Field(
        Path("k8s/trainer-job.yaml"), description="Kubernetes Job that trainers are made from; its nodes and volumes."
    )
    trainer_image: str = Field("", description="Image of trainers in a cluster; empty: the template's.")
    trainer_namespace: str = Field("", description="Namespace of trainers in a cluster; empty: the template's.")
    trainer_gpus_per_node: int = Field(1, ge=1, description="GPUs of one node of the cluster.")
    trainer_gpu_gigabytes: float = Field(80, gt=0, description="Memory of one GPU of the cluster.")

    actor: str = Field("", description="Who acts, for the audit log; empty: the login name.")
    vault_days: int = Field(0, ge=0, description="Days that originals stay in the encrypted vault; 0: no vault.")
    vault_key: SecretStr = Field(
        SecretStr(""), description="Key of the vault, 64 hex digits; empty: HOME/keys/vault.key, made on first use."
    )

    pseudonym_key: SecretStr = Field(
        SecretStr(""),
        description="Secret for pseudonyms and subject hashes; empty: HOME/keys/pseudonym.key, made once.",
    )

    events_url: str = Field(
        "", description="Where a trainer on another machine reports its events: URL of the gateway; empty: nowhere."
    )
    events_key: SecretStr = Field(
        SecretStr(""), description="Key that signs these events; empty: HOME/keys/events.key, made by the gateway."
    )

    prices: Path | None = Field(None, description="Price table (YAML) of machines; empty: the built-in examples.")

    mlflow_ui_url: str = Field("", description="Where people see MLflow, for links; set by `up` for its runs.")
    gateway_url: str = Field("", description="Where the gateway answers, for links; set by `up` for its runs.")

    @property
    def root(self) -> Path:
        """HOME as an absolute path."""
        return self.home.expanduser().resolve()

    @property
    def store(self) -> str:
        return self.store_uri or str(self.root / "store")

    @property
    def state(self) -> str:
        return self.state_url or f"sqlite:///{self.root / 'state.db'}"

    @property
    def mlflow(self) -> str:
        return self.mlflow_url or f"sqlite:///{self.root / 'mlflow' / 'mlflow.db'}"

    @property
    def models(self) -> Path:
        if self.models_dir:
            return self.models_dir.expanduser().resolve()
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        return cache / "tuneloop" / "models"
