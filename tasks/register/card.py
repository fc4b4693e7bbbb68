"""The model card: what a person reads before trusting a version. Pure."""

from __future__ import annotations

from tasks.contracts import DatasetVersion, EvalReport, GateDecision, SystemScores, TrainedModel

_NAMES = {
    "tuned": "**this model**",
    "base": "base model, with examples in its prompt",
    "champion": "champion at that time",
    "majority": "most frequent answer",
    "nearest": "answer of the nearest training row",
}

_KINDS = {
    "dora": "DoRA adapter",
    "full": "Fully trained model",
    "lora_8bit": "LoRA adapter over 8-bit weights",
    "qlora": "LoRA adapter over 4-bit weights",
}
_STORED = {"nf4": "NF4 (QLoRA)", "int8": "8 bits (LLM.int8())", "none": "bf16"}


def model_card(
    name: str, trained: TrainedModel, dataset: DatasetVersion, report: EvalReport, decision: GateDecision
) -> str:
    """Markdown: what it is, what it learned from, how it scored beside the others, why it may be released."""
    parts = (
        f"# {name}\n\n{_kind(trained)} `{trained.adapter_digest[:12]}` {_of_base(trained)} `{trained.base.name}`.",
        _origin(trained, dataset),
        scores_table(report),
        gate_table(decision),
        _limits(trained, report),
    )
    return "\n\n".join(parts) + "\n"


def _kind(trained: TrainedModel) -> str:
    return _KINDS.get(trained.adapter, "LoRA adapter")


def _of_base(trained: TrainedModel) -> str:
    return "that began as" if trained.adapter == "full" else "for"


def scores_table(report: EvalReport) -> str:
    """Every system on the same held-out rows, as a Markdown table."""
    lines = [
        f"## Scores on {report.rows} held-out rows",
        "",
        "| system | exact match | field accuracy | token F1 | ROUGE-L | valid form | perplexity | retention |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [f"| {_NAMES.get(system, system)} | {_cells(scores)} |" for system, scores in report.systems.items()]
    return "\n".join(lines)


def _cells(scores: SystemScores) -> str:
    exact = scores.exact_match
    cells = [
        f"{exact.mean:.1%} ({exact.low:.1%} to {exact.high:.1%})",
        f"{scores.field_accuracy.mean:.1%}",
        f"{scores.token_f1.mean:.3f}",
        f"{scores.rouge_l.mean:.3f}",
        f"{scores.valid_format:.1%}",
        "not measured" if scores.perplexity is None else f"{scores.perplexity:.2f}",
        "not measured" if scores.retention is None else f"{scores.retention:.1%}",
    ]
    return " | ".join(cells)


def gate_table(decision: GateDecision) -> str:
    """Every rule of the gate with what it saw, as a Markdown table."""
    verdict = "passed" if decision.passed else "refused"
    lines = [f"## Gate: {verdict}", "", "| rule | passed | what it saw |", "| --- | --- | --- |"]
    for reason in decision.reasons:
        seen = reason.text.replace("|", "\\|")
        lines.append(f"| {reason.rule} | {'yes' if reason.passed else '**no**'} | {seen} |")
    return "\n".join(lines)


def _origin(trained: TrainedModel, dataset: DatasetVersion) -> str:
    stored = "none: every weight was learned" if trained.adapter == "full" else _STORED[trained.quantization]
    rows = [
        ("training data", f"`{dataset.address}`, digest `{dataset.digest}`"),
        ("rows", f"{trained.rows_seen} of {dataset.train_rows} seen in {trained.steps} steps"),
        ("held-out rows", str(dataset.test_rows)),
        ("base model", f"`{trained.base.name}`, digest `{trained.base.digest}`"),
        ("tokenizer and chat template", f"digest `{trained.base.tokenizer_digest}`"),
        ("frozen weights in training", stored),
        ("method", trained.method),
        ("adapter", f"digest `{trained.adapter_digest}`"),
        ("final training loss", f"{trained.final_loss:.4f}"),
    ]
    if trained.started_from:
        rows.append(("training went on from", f"digest `{trained.started_from}`"))
    rows += [
        (f"{name.replace('_', ' ')}, rows not learned", f"{value:.3f}") for name, value in trained.measures.items()
    ]
    lines = ["## Where it comes from", "", "| | |", "| --- | --- |", *(f"| {what} | {value} |" for what, value in rows)]
    return "\n".join([*lines, *(f"- {warning}" for warning in dataset.warnings)])


def _limits(trained: TrainedModel, report: EvalReport) -> str:
    lines = [
        "## What these numbers do not say",
        "",
        f"- The gate compared {report.metric}: {report.metric_reason}",
        f"- {report.rows} of {report.rows_available} held-out rows were evaluated.",
        *(f"- {note}" for note in report.notes),
        "- Personal data was replaced in training and evaluation; what the model makes of it was not measured.",
    ]
    lines += [f"- Decided at run time: {what}: {why}" for what, why in trained.decisions.items()]
    worked_out = {what: why for what, why in trained.recipe.items() if "auto: " in why or what == "unusual"}
    return "\n".join([*lines, *(f"- Worked out before it: {what}: {why}" for what, why in worked_out.items())])
