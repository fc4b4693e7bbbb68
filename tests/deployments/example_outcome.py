"""A complete outcome with hostile text in every place that data can reach."""

from __future__ import annotations

import math

from tasks.contracts import (
    BaseModelRef,
    DatasetVersion,
    Estimate,
    EvalReport,
    GateDecision,
    GateReason,
    LossPoint,
    RegisteredModel,
    Release,
    RowCounts,
    RunOutcome,
    SystemScores,
    TrainedModel,
)

HOSTILE = '<script>alert("x")</script>[bold red]not markup[/]\x1b[31m&amp;'


def dataset() -> DatasetVersion:
    return DatasetVersion(
        address="ds://support_desk/main@1.0.0",
        version="1.0.0",
        digest="d" * 64,
        uri="store://version/k",
        manifest_digest="e" * 64,
        counts=RowCounts(rows_in=566, kept=512, merged=31, quarantined=23, redacted=14),
        reasons={"near_duplicate": 21, "exact_duplicate": 10, "broken_line": 9, "too_long": 8, HOSTILE: 6},
        train_rows=380,
        test_rows=132,
        tokenizer_digest="f" * 64,
        new=True,
        warnings=(HOSTILE,),
    )


def trained() -> TrainedModel:
    base = BaseModelRef(
        name="smollm2-135m", path="/m", digest="b" * 64, tokenizer_digest="f" * 64, parameters=134515008
    )
    curve = tuple(
        LossPoint(step=i, loss=0.12 + 2.1 * math.exp(-i / 9) + 0.03 * math.sin(i), learning_rate=1e-3, tokens=900 * i)
        for i in range(1, 61)
    )
    return TrainedModel(
        uri="store://train/k",
        adapter_digest="a" * 64,
        base=base,
        dataset="ds://support_desk/main@1.0.0",
        dataset_digest="d" * 64,
        quantization="nf4",
        steps=60,
        rows_seen=760,
        rows_available=380,
        tokens_per_second=488.0,
        final_loss=0.131,
        curve=curve,
        decisions={"compile": "off: a short run", "expand_nf4": HOSTILE},
        seconds=141.0,
    )


def scores(mean: float, perplexity: float | None = None, retention: float | None = None) -> SystemScores:
    def around(value: float) -> Estimate:
        return Estimate(mean=value, low=max(0.0, value - 0.07), high=min(1.0, value + 0.05))

    return SystemScores(
        exact_match=around(mean),
        field_accuracy=around(min(1, mean + 0.1)),
        per_field={"intent": mean, "priority": mean, "team": min(1, mean + 0.1)},
        token_f1=around(0.4 * mean + 0.1),
        rouge_l=around(0.4 * mean + 0.08),
        valid_format=1.0 if mean > 0.2 else 0.61,
        perplexity=perplexity,
        retention=retention,
        seconds_per_answer=0.21,
    )


def report() -> EvalReport:
    return EvalReport(
        uri="store://evaluate/k",
        digest="c" * 64,
        rows=132,
        rows_available=132,
        metric="exact_match",
        metric_reason="The answers are JSON objects: all of intent, priority, team have to be right.",
        fields=("intent", "priority", "team"),
        systems={
            "base": scores(0.015, 14.2, 0.833),
            "tuned": scores(0.72, 2.31, 0.75),
            "majority": scores(0.06),
            "nearest": scores(0.21),
        },
        differences={
            "base": Estimate(mean=0.705, low=0.612, high=0.776),
            "majority": Estimate(mean=0.66, low=0.56, high=0.73),
            "nearest": Estimate(mean=0.51, low=0.40, high=0.60),
        },
        seconds=74.0,
    )


def decision(passed: bool = True) -> GateDecision:
    return GateDecision(
        passed=passed,
        reasons=(
            GateReason(
                rule="enough_rows", passed=True, text="132 held-out rows were compared; at least 30 are needed."
            ),
            GateReason(rule="beats_nearest", passed=passed, text=f"The candidate is 51.0 points better. {HOSTILE}"),
        ),
    )


def outcome(passed: bool = True) -> RunOutcome:
    model = RegisteredModel(
        name="support_desk", version=3, alias="champion", run_id="r1", adapter_digest="a" * 64, new=True
    )
    ended = RunOutcome(
        status="done",
        exit_code=0,
        dataset=dataset(),
        trained=True,
        model=trained(),
        evaluation=report(),
        gate=decision(passed),
        registered=model,
        release=Release(model=model, status="promoted", text="support_desk version 3 is champion: 3 of 3 smoke calls"),
        seconds={
            "ingest": 0.4,
            "process": 9.1,
            "validate": 6.3,
            "version": 1.2,
            "train": 141.0,
            "evaluate": 74.0,
            "gate": 0.1,
            "register": 6.1,
            "release": 12.0,
        },
    )
    if passed:
        return ended
    refusal = {"status": "refused", "exit_code": 10, "registered": None, "release": None}
    return ended.model_copy(update={**refusal, "reasons": decision(False).refusals})
