"""Frozen records that pass between stages. Stages exchange references (URI, digest, counts), never payloads."""

from tasks.contracts.models import BaseModelRef, Forecast, LossPoint, TrainedModel, ValidationPoint
from tasks.contracts.outcomes import (
    Candidate,
    DriftReport,
    Estimate,
    EvalReport,
    GateDecision,
    GateReason,
    RegisteredModel,
    Release,
    RunOutcome,
    ServedModel,
    SystemScores,
)
from tasks.contracts.record import Digest, Outcome, Precision, Quantization, Record, Split
from tasks.contracts.rows import DatasetVersion, Message, Row, RowCounts, RowOrigin, Rows, ToolCall, ValidatedRows

__all__ = [
    "BaseModelRef",
    "Candidate",
    "DatasetVersion",
    "Digest",
    "DriftReport",
    "Estimate",
    "EvalReport",
    "Forecast",
    "GateDecision",
    "GateReason",
    "LossPoint",
    "Message",
    "Outcome",
    "Precision",
    "Quantization",
    "Record",
    "RegisteredModel",
    "Release",
    "Row",
    "RowCounts",
    "RowOrigin",
    "Rows",
    "RunOutcome",
    "ServedModel",
    "Split",
    "SystemScores",
    "ToolCall",
    "TrainedModel",
    "ValidatedRows",
    "ValidationPoint",
]
