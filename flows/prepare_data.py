"""ingest → process → validate → version.

tuneloop data prepare examples/support_desk/config.yaml
"""

from prefect import flow

from tasks.config import RunConfig
from tasks.contracts import DatasetVersion
from tasks.ingest.task import ingest
from tasks.outcome.task import refusable
from tasks.process.task import process
from tasks.train.task import resolve_base
from tasks.validate.task import validate
from tasks.version.task import version


@flow(name="prepare-data", flow_run_name="prepare data of {config.project}")
@refusable
def prepare_data(config: RunConfig) -> DatasetVersion:
    """Raw files to an immutable dataset version; every row ends kept, merged or quarantined."""
    base = resolve_base(config.model)
    rows = process(ingest(config.data), config.process)
    validated = validate(rows, config.checks, base)
    return version(validated, config.project, config.split, config.policy_digest, base)
