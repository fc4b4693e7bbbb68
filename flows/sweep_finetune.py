"""sweep → finetune with the best settings.

tuneloop sweep examples/support_desk/config.yaml --dataset ds://support_desk/main@1.0.0 --grid train.rank=8,16
"""

from prefect import flow

from flows.finetune import finetune
from flows.sweep import sweep
from tasks.config import RunConfig
from tasks.contracts import Candidate
from tasks.outcome.task import answer
from tasks.train.space import Space, Swept, settled
from tasks.train.task import resolve_base
from tasks.version.task import dataset_at


@flow(name="sweep-finetune", flow_run_name="sweep and finetune {config.project} on {dataset}")
def sweep_finetune(config: RunConfig, dataset: str, space: Space) -> tuple[Swept, Candidate]:
    """The best settings of a space to a candidate: its adapter is there already, evaluation and gate follow.

    Args:
        dataset: address of a dataset version, `ds://project/name@x.y.z`.
    """
    swept = answer(sweep(config, dataset, space, return_state=True))
    chosen = settled(config.train, swept.point, dataset_at(dataset), resolve_base(config.model))
    best = config.model_copy(update={"train": chosen})
    return swept, answer(finetune(best, dataset, return_state=True))
