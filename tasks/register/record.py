"""What the registry is told about an adapter, from the records of the stages before. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from tasks.adapters.registry_runs import Point, RegistryEntry
from tasks.contracts import DatasetVersion, EvalReport, GateDecision, Record, SystemScores, TrainedModel
from tasks.privacy.config import PrivacyConfig
from tasks.register.card import gate_table, model_card


class Evidence(Record):
    """All that is known about a candidate when it is registered."""

    trained: TrainedModel
    dataset: DatasetVersion
    report: EvalReport
    decision: GateDecision


def entry(name: str, evidence: Evidence, config: Mapping[str, Any], manifest: str) -> RegistryEntry:
    """Everything that is written about an adapter.

    Args:
        config: the run's configuration as JSON values.
        manifest: content of the dataset version's manifest.json.
    """
    trained, dataset, report = evidence.trained, evidence.dataset, evidence.report
    return RegistryEntry(
        name=name,
        adapter_digest=trained.adapter_digest,
        description=_description(evidence),
        params=dict(flatten(config)),
        metrics={
            **_scores(report),
            "train.tokens_per_second": trained.tokens_per_second,
            **{f"train.{name}": value for name, value in trained.measures.items()},
        },
        curve=_curve(trained),
        tags=_lineage(evidence, config),
        texts={
            "model_card.md": model_card(name, trained, dataset, report, evidence.decision),
            "gate.md": gate_table(evidence.decision) + "\n",
            "gate.json": evidence.decision.model_dump_json(indent=1),
            "evaluation.json": report.model_dump_json(indent=1),
            "recipe.json": json.dumps(trained.recipe, indent=1, ensure_ascii=False),
            "config.yaml": yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True),
            "dataset_manifest.json": manifest,
        },
    )


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys and text values of a nested configuration; lists are numbered."""
    for key, value in config.items():
        path = f"{prefix}{key}"
        if isinstance(value, list):
            value = {str(index): element for index, element in enumerate(value)}
        if isinstance(value, Mapping):
            yield from flatten(value, f"{path}.")
        else:
            yield path, "" if value is None else str(value)


def _lineage(evidence: Evidence, config: Mapping[str, Any]) -> dict[str, str]:
    trained, dataset, compared_with = evidence.trained, evidence.dataset, evidence.report.champion_version
    entities, regions = _freed_of(config["data"])
    return {
        "adapter_digest": trained.adapter_digest,
        "training": trained.uri.rsplit("/", 1)[-1],
        "base": trained.base.name,
        "base_digest": trained.base.digest,
        "tokenizer_digest": trained.base.tokenizer_digest,
        "quantization": trained.quantization,
        "adapter": trained.adapter,
        "method": trained.method,
        "started_from": trained.started_from,
        "dataset": dataset.address,
        "dataset_digest": dataset.digest,
        "dataset_uri": dataset.uri,
        "redacted_entities": json.dumps(entities),
        "phone_regions": json.dumps(regions),
        "compared_with": "" if compared_with is None else str(compared_with),
    }


def _freed_of(data: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Entities and phone regions that were looked for in any source: what the model is asked is freed of them too."""
    own = [source["privacy"] for source in data["sources"] if source.get("privacy")]
    found = [PrivacyConfig.model_validate(privacy) for privacy in (data["privacy"], *own)]
    entities = dict.fromkeys(entity for privacy in found for entity in privacy.looked_for)
    return list(entities), list(dict.fromkeys(region for privacy in found for region in privacy.phone_regions))


def _description(evidence: Evidence) -> str:
    tuned, base = evidence.report.systems["tuned"], evidence.report.systems["base"]
    return (
        f"Trained on {evidence.dataset.address} from {evidence.trained.base.name}: exact match "
        f"{tuned.exact_match.mean:.1%} on {evidence.report.rows} held-out rows (base {base.exact_match.mean:.1%})."
    )


def _scores(report: EvalReport) -> dict[str, float]:
    """Flat metrics `<system>.<score>`; what was not measured is absent."""
    metrics: dict[str, float] = {}
    for system, scores in report.systems.items():
        metrics.update({f"{system}.{key}": value for key, value in _system_scores(scores)})
    for other, gain in report.differences.items():
        metrics |= {f"gain_over_{other}.{part}": getattr(gain, part) for part in ("mean", "low", "high")}
    return metrics


def _system_scores(scores: SystemScores) -> Iterator[tuple[str, float]]:
    for key in ("exact_match", "field_accuracy", "token_f1", "rouge_l"):
        estimate = getattr(scores, key)
        yield key, estimate.mean
        yield f"{key}.low", estimate.low
        yield f"{key}.high", estimate.high
    for field, share in scores.per_field.items():
        yield f"field.{field}", share
    for key in ("valid_format", "perplexity", "retention", "seconds_per_answer"):
        value = getattr(scores, key)
        if value is not None:
            yield key, float(value)


def _curve(trained: TrainedModel) -> tuple[Point, ...]:
    return tuple(
        Point(key=f"train.{key}", step=point.step, value=float(getattr(point, key)))
        for point in trained.curve
        for key in ("loss", "learning_rate", "tokens")
    )
