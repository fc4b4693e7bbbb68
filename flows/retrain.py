"""The main job: prepare_data → finetune → release.

tuneloop run examples/support_desk/config.yaml
"""

from prefect import flow

from flows.finetune import finetune
from flows.prepare_data import prepare_data
from flows.release import release
from tasks.config import RunConfig
from tasks.contracts import RunOutcome
from tasks.outcome.conclude import conclude
from tasks.outcome.task import answer, concluding


@flow(name="retrain", flow_run_name="retrain {config.project}", validate_parameters=True)
@concluding
def retrain(config: RunConfig, reason: str = "", resume: str = "") -> RunOutcome:
    """From raw files to a served model that is proven better, or a refusal with reasons.

    Args:
        config: what to do.
        reason: why this run was started, in words (schedule, drift, a person); shown when nothing changed.
        resume: key of the training that is to go on; with other data or values the run is refused.
    """
    dataset = answer(prepare_data(config, return_state=True))
    candidate = answer(finetune(config, dataset.address, resume, return_state=True))
    if candidate.registered is None:
        return conclude(dataset, candidate, None, reason)
    released = answer(release(config, candidate.registered.version, return_state=True))
    return conclude(dataset, candidate, released, reason)
