"""Where trainers run: processes of this machine, or jobs of a cluster (TUNELOOP_TRAINER)."""

from __future__ import annotations

from pathlib import Path

from tasks.settings import Settings
from tasks.train.attempts import Launch, LocalLaunch
from tasks.train.engines.kubernetes_launch import KubernetesLaunch


def launch_for(home: Path, log_file: Path) -> Launch:
    """What starts the trainer, as the settings say."""
    settings = Settings()
    return KubernetesLaunch(log_file, settings) if settings.trainer == "kubernetes" else LocalLaunch(home, log_file)
