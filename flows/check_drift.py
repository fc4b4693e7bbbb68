"""Recent requests against the training data of the serving version → report, event.

The nightly deployment `check-drift/nightly` runs it; drift starts `retrain/local` (deployments/automations.py).
"""

from prefect import flow

from tasks.config import RunConfig
from tasks.contracts import DriftReport
from tasks.monitor.task import announce, compare


@flow(name="check-drift", flow_run_name="check drift of {config.project}")
def check_drift(config: RunConfig) -> DriftReport:
    """What came in lately, against what the model was trained on. Drift emits the event that starts a retraining."""
    report = compare(config.model_name, config.monitor)
    announce(report, config.model_dump(mode="json"))
    return report
