"""stage → smoke call → promote, or wait for a person.

tuneloop models promote support_desk 3 --reason "looked at the examples"
"""

from prefect import flow

from tasks.config import RunConfig
from tasks.contracts import Release
from tasks.outcome.task import refusable
from tasks.register.task import registered_version
from tasks.release.task import asked, release_version


@flow(name="release", flow_run_name="release {config.project} version {version}")
@refusable
def release(config: RunConfig, version: int) -> Release:
    """A registered version becomes champion after it answered over real HTTP; on failure the previous one stays.

    With `release.approval: required` it waits as challenger; run as a deployment, it suspends for the decision form.

    Args:
        version: version number in the model registry.
    """
    released = release_version(registered_version(config.model_name, version), config.release)
    return asked(released, config.model_dump(mode="json"))
