"""train → evaluate → gate → register.

tuneloop train examples/support_desk/config.yaml --dataset ds://support_desk/main@1.0.0
"""

from prefect import flow

from flows.sweep import best_settings
from tasks.config import RunConfig
from tasks.contracts import Candidate
from tasks.evaluate.task import compared_fields_at_hand, evaluate
from tasks.gate.task import gate
from tasks.outcome.task import refusable
from tasks.register.task import champion, champion_at_hand, register
from tasks.train.task import resolve_base, train
from tasks.version.task import dataset_at


@flow(name="finetune", flow_run_name="finetune {config.project} on {dataset}")
@refusable
def finetune(config: RunConfig, dataset: str, resume: str = "") -> Candidate:
    """A dataset version to a candidate that has passed, or not passed, the gate; a refused one is not registered.

    Args:
        dataset: address of a dataset version, `ds://project/name@x.y.z`.
        resume: key of the training that is to go on; with other data or values the run is refused.
    """
    rows, base = dataset_at(dataset), resolve_base(config.model)
    champion_at_hand(config.model_name)
    compared_fields_at_hand(rows, config.evaluate)
    config = best_settings(config, rows, base)
    trained = train(rows, base, config.train, config.model_name, resume)
    report = evaluate(rows, trained, champion(config.model_name, trained.adapter_digest), config.evaluate)
    decision = gate(trained, report, config.gate)
    candidate = Candidate(trained=trained, evaluation=report, gate=decision)
    if not decision.passed:
        return candidate
    model = register(config.model_name, trained, rows, report, decision, config.model_dump(mode="json"))
    return candidate.model_copy(update={"registered": model})
