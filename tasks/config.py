"""RunConfig: what to do. Composed of each stage's own configuration; every value is logged with the run."""

from __future__ import annotations

from pydantic import Field, model_validator

from tasks.contracts import Record
from tasks.digest import digest_of
from tasks.errors import UsageError
from tasks.evaluate.config import EvaluateConfig
from tasks.gate.config import GateConfig
from tasks.ingest.config import DataConfig
from tasks.monitor.config import MonitorConfig
from tasks.process.config import ProcessConfig
from tasks.register.config import RegistryConfig
from tasks.release.config import ReleaseConfig
from tasks.train.config import ModelConfig, TrainConfig
from tasks.train.contradictions import refuse_contradictions
from tasks.validate.config import ChecksConfig
from tasks.version.config import SplitConfig


class RunConfig(Record):
    """One run of the main job."""

    project: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="Name of the project, e.g. support_desk.")
    data: DataConfig
    process: ProcessConfig = ProcessConfig()
    checks: ChecksConfig = ChecksConfig()
    split: SplitConfig = SplitConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    gate: GateConfig = GateConfig()
    registry: RegistryConfig = RegistryConfig()
    release: ReleaseConfig = ReleaseConfig()
    monitor: MonitorConfig = MonitorConfig()

    @model_validator(mode="after")
    def _possible(self) -> RunConfig:
        """Refuse what could never be trained before any data is read, wherever the configuration came from."""
        refuse_contradictions(self.train)
        self._refuse_too_few_rows()
        return self

    def _refuse_too_few_rows(self) -> None:
        sampled, needed = self.evaluate.max_rows, self.gate.min_rows
        if sampled is not None and sampled < needed:
            raise UsageError(
                f"evaluate.max_rows is {sampled}, and the gate refuses what is compared on fewer than {needed} rows",
                where="evaluate.max_rows",
                why=f"gate.min_rows is {needed}",
                remedy=f"set evaluate.max_rows to {needed} or more, leave it out for all rows, or lower gate.min_rows",
            )

    @property
    def model_name(self) -> str:
        """Name of the model in the registry."""
        return self.registry.model_name or self.project

    @property
    def policy_digest(self) -> str:
        """Digest of everything that decides what a row may look like: a change makes a new major dataset version."""
        own = [source.privacy for source in self.data.sources if source.privacy is not None]
        parts = (self.data.privacy, *own, self.process, self.checks)
        return digest_of([part.model_dump(mode="json") for part in parts])
